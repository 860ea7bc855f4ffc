"""Writing sessions to PostgreSQL.

Stage: sessions -> rows of the Atlas SDK's tables, in one transaction. What is written here the
SDK reads; ``postgres`` reads it back equal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files
from itertools import islice
from typing import Any, Final, Literal, LiteralString, cast

from atlas.errors import AtlasError
from atlas.session import Session
from atlas.traces.codec import session_to_record
from atlas.traces.codec_fields import Record
from atlas.traces.postgres.connection import Connection, connect, explained, place_name

Unstorable = Literal["error", "replace"]
Rows = dict[str, list[tuple[Any, ...]]]
"""By table."""

BATCH_SIZE = 500
SCHEMA_LOCK_KEY: Final = 0x61746C6173  # "atlas": only one process at a time makes the tables

_INSERT: Final = (
    "INSERT INTO sessions (task, status, final_answer, review_status, review_notes, created_at,"
    " completed_at, student_learning, teacher_learning, reward, reward_stats, reward_audit,"
    " metadata) VALUES (%s, %s, %s, %s, %s, COALESCE(%s::timestamptz, now()), %s::timestamptz,"
    " %s, %s, %s::jsonb, %s::jsonb, %s::jsonb, %s::jsonb) RETURNING id"
)
_TEXT_COLUMNS: Final = (
    "task",
    "status",
    "final_answer",
    "review_status",
    "review_notes",
    "created_at",
    "completed_at",
    "student_learning",
    "teacher_learning",
)
_JSON_COLUMNS: Final = ("session_reward", "reward_stats", "reward_audit", "session_metadata")
_COLUMNS: Final[Mapping[LiteralString, LiteralString]] = {
    "plans": "plan",
    "step_results": "step_id, trace, output, attempts, evaluation, metadata",
    "step_attempts": "step_id, attempt, evaluation",
    "guidance_notes": "step_id, sequence, note",
    "trajectory_events": "event, created_at",
}
"""Of the tables beside ``sessions``, after ``session_id``."""

# JSON text, token by token as far as it matters: strings whole, then numbers with an exponent.
_STRING_OR_LARGE_FLOAT = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?e\+\d+')
_NUL_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_REPLACEMENT = "\ufffd"


def ensure_schema(target: str | Connection) -> None:
    """Create the tables and indexes where there is no table ``sessions``; else change nothing.

    Args:
        target: A ``db_url`` or an open connection.

    Raises:
        AtlasError: the server can't be reached or doesn't allow it.
    """
    with _transaction(target) as connection:
        if not _has_sessions(connection):
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [SCHEMA_LOCK_KEY])
            schema = (
                files("atlas.traces.postgres").joinpath("schema.sql").read_text(encoding="utf-8")
            )
            # The file is part of the package, so it is as literal as if it stood here.
            connection.execute(cast("LiteralString", schema))


def _has_sessions(connection: Connection) -> bool:
    row = connection.execute("SELECT to_regclass('sessions') IS NOT NULL").fetchone()
    return row is not None and row[0]


def write_sessions(
    target: str | Connection, sessions: Iterable[Session], *, unstorable: Unstorable = "error"
) -> list[int]:
    """Write sessions in one transaction: all of them or, after an error, none.

    Makes the tables where there are none. The sessions get new ids, whatever ``Session.id`` says.
    Stores give steps back by id, attempts and guidance by number, whatever their order here.

    Args:
        target: A ``db_url``, or an open connection: where that is in a transaction, the sessions
            become part of it.
        sessions: Taken in batches, so a generator of any length is fine.
        unstorable: PostgreSQL holds neither the character U+0000 nor half of a surrogate pair.
            ``error`` refuses a session with one; ``replace`` puts U+FFFD in its place.

    Returns:
        The new ids in the order of the sessions.

    Raises:
        AtlasError: the server can't be reached or refuses, or a session can't be stored; the
            text names the session by its place, counted from 0, and the field.
    """
    ids: list[int] = []
    with _transaction(target) as connection:
        ensure_schema(connection)
        remaining = iter(sessions)
        while batch := list(islice(remaining, BATCH_SIZE)):
            taken = [
                _rows_of(session, _Encoder(f"session {len(ids) + place}", unstorable))
                for place, session in enumerate(batch)
            ]
            new_ids = _insert_sessions(connection, [own for own, _ in taken])
            for table, columns in _COLUMNS.items():
                statement = f"COPY {table} (session_id, {columns}) FROM STDIN"
                with connection.cursor() as cursor, cursor.copy(statement) as copy:
                    for session_id, (_, rows) in zip(new_ids, taken, strict=True):
                        for row in rows[table]:
                            copy.write_row((session_id, *row))
            ids += new_ids
    return ids


@contextmanager
def _transaction(target: str | Connection) -> Iterator[Connection]:
    if isinstance(target, str):
        with closing(connect(target)) as connection, _transaction(connection):
            yield connection
        return
    info = target.info
    with explained(place_name(info.host, info.port, info.dbname)), target.transaction():
        yield target


def _insert_sessions(connection: Connection, rows: Iterable[list[Any]]) -> list[int]:
    ids: list[int] = []
    with connection.cursor() as cursor:
        cursor.executemany(_INSERT, rows, returning=True)
        for result in cursor.results():
            ids += [row[0] for row in result.fetchall()]
    return ids


def _rows_of(session: Session, encoder: _Encoder) -> tuple[list[Any], Rows]:
    """Take a session apart: its own row, and those of the other tables without its id."""
    record = session_to_record(session)
    own = [encoder.text(record.get(name), name) for name in _TEXT_COLUMNS]
    own += [encoder.json(record[name], name) for name in _JSON_COLUMNS]
    rows: Rows = {table: [] for table in _COLUMNS}
    if record["plan"] is not None:
        rows["plans"].append((encoder.json(record["plan"], "plan"),))
    seen: set[int] = set()
    for step in record["steps"]:
        if step["step_id"] in seen:
            raise AtlasError(
                f"{encoder.place} has two steps with the id {step['step_id']}; a database holds "
                "one: give each step its own id"
            )
        seen.add(step["step_id"])
        _add_step(rows, step, encoder)
    for index, event in enumerate(record.get("trajectory_events", ())):
        # The SDK's column holds JSON's null and no SQL null.
        text = encoder.json(event["event"], f"trajectory_events[{index}]") or "null"
        rows["trajectory_events"].append((text, event["created_at"] or "now"))
    return own, rows


def _add_step(rows: Rows, step: Record, encoder: _Encoder) -> None:
    step_id = step["step_id"]
    where = f"step {step_id}"
    if step["has_result"]:
        rows["step_results"].append(
            (
                step_id,
                encoder.text(step["trace"], f"{where}, trace"),
                encoder.text(step["output"], f"{where}, output"),
                step["attempts"],
                encoder.json(step["evaluation"], f"{where}, evaluation"),
                encoder.json(step["metadata"], f"{where}, metadata"),
            )
        )
    for attempt in step["attempt_details"]:
        document = encoder.json(attempt["evaluation"], f"{where}, attempts")
        rows["step_attempts"].append((step_id, attempt["attempt"], document))
    for note in step["guidance"]:
        text = encoder.text(note["note"], f"{where}, guidance")
        rows["guidance_notes"].append((step_id, note["sequence"], text))


@dataclass(frozen=True, slots=True)
class _Encoder:
    """Values of one session as the text that the database is sent."""

    place: str
    unstorable: Unstorable

    def text(self, value: str | None, field: str) -> str | None:
        """Return text that PostgreSQL holds."""
        if value is None or not _UNSTORABLE.search(value):
            return value
        self._refuse_unless_replacing(field)
        return _UNSTORABLE.sub(_REPLACEMENT, value)

    def json(self, value: Any, field: str) -> str | None:
        """Return a document as JSON text; None as SQL's null."""
        if value is None:
            return None
        try:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise AtlasError(f"{self.place}, {field} is no JSON: {error}") from error
        if "e+" in text:
            text = _STRING_OR_LARGE_FLOAT.sub(_keep_float, text)
        if "\\u0000" in text and _NUL_ESCAPE.search(text):
            self._refuse_unless_replacing(field)
            text = _NUL_ESCAPE.sub(rf"\1{_REPLACEMENT}", text)
        return self.text(text, field)

    def _refuse_unless_replacing(self, field: str) -> None:
        if self.unstorable != "replace":
            raise AtlasError(
                f"{self.place}, {field} holds U+0000 or half of a surrogate pair, which PostgreSQL "
                "can't store: clean the text, or write with unstorable='replace'"
            )


def _keep_float(token: re.Match[str]) -> str:
    """Spell a large float out with a fraction.

    jsonb would spell ``1e+23`` out without one, and it would come back as the integer 10**23,
    which is not the float.
    """
    text = token.group()
    return text if text.startswith('"') else f"{Decimal(text):f}.0"
