"""Sessions in a JSONL file, gzipped where its name ends in ``.gz``.

Stage: sessions -> one JSON object a line, and back equal. Lines that the Atlas SDK exported are
read, too. Both ways one line is in memory at a time.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final, Literal, cast

from atlas.errors import AtlasError
from atlas.json_file import json_value
from atlas.session import Session
from atlas.traces.codec import session_from_record, session_to_record
from atlas.traces.codec_fields import MisshapenError
from atlas.traces.sdk_export import record_from_export
from atlas.traces.store import DEFAULT_PAGE_SIZE, SessionQuery

OnBroken = Literal["error", "skip"]

FORMAT_KEY: Final = "format"
FORMAT: Final = "atlas.session/1"
MAX_LINE_BYTES: Final = 256_000_000
"""Of one session; a longer line is no session, and isn't read whole."""

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class BrokenLine:
    """A line that holds no session."""

    line: int
    """Counts from 1."""
    reason: str


def write_jsonl(path: str | Path, sessions: Iterable[Session]) -> int:
    """Write sessions to a file, which appears under its name when it is complete.

    Args:
        path: Gzipped where it ends in ``.gz``. A file that is there is replaced.
        sessions: Taken one by one, so a generator of any length is fine.

    Returns:
        How many were written.

    Raises:
        AtlasError: the file can't be written, or a session holds something that is no JSON.
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.unfinished")
    count = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _writing(unfinished, compressed=path.suffix == ".gz") as file:
            for count, session in enumerate(sessions, start=1):
                file.write(_line_of(session, f"{path}, session {count - 1}"))
        os.replace(unfinished, path)
    except OSError as error:
        raise AtlasError(f"can't write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            unfinished.unlink()
    return count


class JsonlTraceStore:
    """Sessions in a JSONL file, in the order of its lines.

    Args:
        path: Written by ``write_jsonl`` or exported by the Atlas SDK.
        on_broken: ``error`` stops at the first broken line; ``skip`` goes on and notes it.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        on_broken: OnBroken = "error",
        page_size: int = DEFAULT_PAGE_SIZE,
    ) -> None:
        self.path = Path(path)
        self.broken: list[BrokenLine] = []
        """What the latest pass has skipped so far."""
        self._on_broken = on_broken
        self._page_size = page_size

    def pages(self, query: SessionQuery) -> Iterator[list[Session]]:
        """Yield the sessions that pass, in pages; no page is empty.

        Raises:
            AtlasError: as in ``sessions``.
        """
        sessions = self.sessions(query)
        while page := list(islice(sessions, self._page_size)):
            yield page
            del page  # before the next one is read

    def sessions(self, query: SessionQuery) -> Iterator[Session]:
        """Yield the sessions that pass one by one.

        Raises:
            AtlasError: the file can't be read, or a line is broken and ``on_broken`` is ``error``;
                the text names file, line and reason.
        """
        passing = (session for session in self._all() if query.matches(session))
        for session in islice(islice(passing, query.offset, None), query.limit):
            yield query.trimmed(session)

    def count(self, query: SessionQuery) -> int:
        """Return how many sessions pass the filters, ``limit`` and ``offset`` set aside.

        Raises:
            AtlasError: as in ``sessions``.
        """
        return sum(query.matches(session) for session in self._all())

    def _all(self) -> Iterator[Session]:
        self.broken = []
        seen: set[int] = set()
        for number, line in self._lines():
            try:
                session = _session_of(line)
            except ValueError as error:
                self._note(number, str(error), error)
                continue
            if session.id in seen:
                # Two files joined to one: the number is another session's, so this one has none.
                session = replace(session, id=None)
            elif session.id is not None:
                seen.add(session.id)
            yield session

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield the lines that are not blank with their numbers."""
        number = 0
        try:
            with _reading(self.path) as file:
                for number, line in enumerate(file, start=1):
                    content = line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
                    if content.strip():
                        yield number, content
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            self._note(number + 1, f"the compressed file is damaged here: {error}", error)
        except OSError as error:
            raise AtlasError(f"can't read {self.path}: {error.strerror or error}") from error

    def _note(self, line: int, reason: str, error: Exception) -> None:
        self.broken.append(BrokenLine(line, reason))
        if self._on_broken == "error":
            raise AtlasError(f"{self.path}, line {line}: {reason}") from error


def _session_of(line: bytes) -> Session:
    """Read one line; a ``ValueError`` says what is wrong with it."""
    record = json_value(line, max_bytes=MAX_LINE_BYTES)
    if FORMAT_KEY not in record:
        record = record_from_export(record)
    elif record.pop(FORMAT_KEY) != FORMAT:
        raise MisshapenError(f"written in another format; this is for {FORMAT}")
    return session_from_record(record)


def _line_of(session: Session, place: str) -> bytes:
    record = {FORMAT_KEY: FORMAT, **session_to_record(session)}
    try:
        text = json.dumps(record, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise AtlasError(f"{place} is no JSON: {error}") from error
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:
        # Half of a surrogate pair has no UTF-8; JSON's own escape holds it.
        return json.dumps(record).encode() + b"\n"


@contextmanager
def _writing(path: Path, *, compressed: bool) -> Iterator[BinaryIO]:
    with open(path, "wb") as file:
        if compressed:
            # Without a name and a time in it, equal sessions make equal files.
            with gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packed:
                yield cast("BinaryIO", packed)
        else:
            yield file
        file.flush()
        os.fsync(file.fileno())


def _reading(path: Path) -> BinaryIO:
    opened = gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb")  # noqa: SIM115
    return cast("BinaryIO", opened)
