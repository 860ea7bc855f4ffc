"""Answers that are known already, in one SQLite file: the same call is free, after a restart too.

Input: what a call asks, without what changes from call to call (a judge's fence and nonce). Output:
the answer as text. No failures are kept, and no key. Several processes may share a file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from atlas.endpoint.owner import JUDGES, Owner
from atlas.errors import AtlasError

_SCHEMA = "CREATE TABLE IF NOT EXISTS verdicts (key TEXT PRIMARY KEY, verdict TEXT, created REAL)"
_BUSY_MS = 30_000


def content_key(asked: object) -> str:
    """Return the SHA-256 of what is asked, as JSON with its keys in order."""
    text = json.dumps(asked, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class AnswerCache:
    """The file, opened at first use.

    Args:
        path: Where it is; None keeps nothing.
        owner: Who asks, for messages.
    """

    def __init__(self, path: Path | None, owner: Owner = JUDGES) -> None:
        self._path, self._owner = path, owner
        self._connection: sqlite3.Connection | None = None

    def get(self, key: str) -> str | None:
        """Return the answer that is kept under a key.

        Raises:
            AtlasError: The file can't be read.
        """
        if self._path is None:
            return None
        with self._errors():
            row = self._open().execute("SELECT verdict FROM verdicts WHERE key = ?", (key,))
            found = row.fetchone()
        return None if found is None else str(found[0])

    def put(self, key: str, answer: str) -> None:
        """Keep an answer; what another process kept first stays.

        Raises:
            AtlasError: The file can't be written.
        """
        if self._path is None:
            return
        with self._errors():
            row = (key, answer, time.time())
            self._open().execute("INSERT OR IGNORE INTO verdicts VALUES (?, ?, ?)", row)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            assert self._path is not None
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Closed by whoever ends the event loop that used it.
            connection = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False, timeout=_BUSY_MS / 1000
            )
            _use_wal(connection)
            # A power cut may lose the last answers; they are asked for again.
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(_SCHEMA)
            self._connection = connection
        return self._connection

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise AtlasError(
                f"the {self._owner.possessive} cache {self._path} can't be used ({error}); delete "
                f"the file, or set {self._owner.key('cache_path')} to another one or to null"
            ) from error


def _use_wal(connection: sqlite3.Connection) -> None:
    """Change to a write-ahead log; SQLite's own time-out doesn't cover two that do so at once."""
    deadline = time.monotonic() + _BUSY_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.01)
