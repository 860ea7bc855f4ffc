"""Where a collection of sessions grows, chunk by chunk, so that it can stop and go on.

Stage: recorded sessions -> PostgreSQL, or files that become one JSONL file. A chunk is there whole
or not at all; ``recorded`` says which tasks need not be worked again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from atlas.run.files import through_links
from atlas.session import Session
from atlas.traces.jsonl import JsonlTraceStore, write_jsonl
from atlas.traces.postgres.connection import describe
from atlas.traces.postgres.reading import PostgresTraceStore
from atlas.traces.postgres.writing import ensure_schema, write_sessions
from atlas.traces.store import SessionQuery
from atlas.types import task_id


class Collection(Protocol):
    """A place that sessions are recorded in."""

    @property
    def place(self) -> str:
        """Its name, without a password."""
        ...

    def recorded(self) -> set[str]:
        """Return the identities of the tasks whose sessions are there."""
        ...

    def add(self, sessions: Sequence[Session]) -> None:
        """Record a chunk: all of it or, after an error, nothing."""
        ...

    def by_status(self) -> Mapping[str, int]:
        """Return how many sessions there are, by status."""
        ...


class PostgresCollection:
    """Sessions of one learning key in PostgreSQL; the tables are made where they are missing.

    Raises:
        AtlasError: the database can't be reached or refuses; ``add`` and the others likewise.
    """

    def __init__(self, db_url: str, learning_key: str) -> None:
        self._db_url = db_url
        self._store = PostgresTraceStore(db_url)
        self._query = SessionQuery(
            learning_key=learning_key, include_trajectory_events=False, include_learning_data=False
        )
        ensure_schema(db_url)

    @property
    def place(self) -> str:
        """As in ``Collection``."""
        return describe(self._db_url)

    def recorded(self) -> set[str]:
        """As in ``Collection``."""
        return {task_id(session.task) for session in self._store.sessions(self._query)}

    def add(self, sessions: Sequence[Session]) -> None:
        """As in ``Collection``, in one transaction."""
        # A byte-level model can say U+0000, which PostgreSQL has no room for.
        write_sessions(self._db_url, sessions, unstorable="replace")

    def by_status(self) -> Mapping[str, int]:
        """As in ``Collection``."""
        counts = {
            status: self._store.count(replace(self._query, status_filters=[status]))
            for status in ("succeeded", "failed", "running")
        }
        return {status: number for status, number in counts.items() if number}


class JsonlCollection:
    """Sessions of one learning key in files of a folder, one a chunk; ``publish`` joins them.

    Args:
        folder: Made where it is missing; holds nothing else.
        learning_key: Files of another one may lie there, too.
    """

    def __init__(self, folder: Path, learning_key: str) -> None:
        self._folder = folder
        self._query = SessionQuery(learning_key=learning_key)

    @property
    def place(self) -> str:
        """As in ``Collection``."""
        return str(self._folder)

    def recorded(self) -> set[str]:
        """As in ``Collection``."""
        return {task_id(session.task) for session in self._sessions()}

    def add(self, sessions: Sequence[Session]) -> None:
        """As in ``Collection``, as a file of its own."""
        write_jsonl(self._folder / f"{len(self._files()):08d}.jsonl", sessions)

    def by_status(self) -> Mapping[str, int]:
        """As in ``Collection``."""
        return Counter(session.status or "none" for session in self._sessions())

    def publish(self, output: Path) -> int:
        """Write all sessions to one file, in the order of recording, and return their number."""
        return write_jsonl(through_links(output), self._sessions())

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.jsonl"))

    def _sessions(self) -> Iterator[Session]:
        for file in self._files():
            yield from JsonlTraceStore(file).sessions(self._query)
