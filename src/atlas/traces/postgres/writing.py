"""Writing sessions to PostgreSQL.

Stage: sessions -> rows of the Atlas SDK's tables, in one transaction. What is written here the
SDK reads; ``postgres`` reads it back equal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
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
_COPY_PLANS: Final = "COPY plans (session_id, plan) FROM STDIN"
_COPY_STEPS: Final = (
    "COPY step_results (session_id, step_id, trace, output, attempts, evaluation, metadata)"
    " FROM STDIN"
)
_COPY_ATTEMPTS: Final = "COPY step_attempts (session_id, step_id, attempt, evaluation) FROM STDIN"
_COPY_NOTES: Final = "COPY guidance_notes (session_id, step_id, sequence, note) FROM STDIN"
_COPY_EVENTS: Final = "COPY trajectory_events (session_id, event, created_at) FROM STDIN"

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
            rows = [
                _Row.of(session, _Encoder(f"session {len(ids) + place}", unstorable))
                for place, session in enumerate(batch)
            ]
            new_ids = _insert_sessions(connection, rows)
            _copy(connection, _COPY_PLANS, _with_ids(new_ids, [row.plans for row in rows]))
            _copy(connection, _COPY_STEPS, _with_ids(new_ids, [row.steps for row in rows]))
            _copy(connection, _COPY_ATTEMPTS, _with_ids(new_ids, [row.attempts for row in rows]))
            _copy(connection, _COPY_NOTES, _with_ids(new_ids, [row.notes for row in rows]))
            _copy(connection, _COPY_EVENTS, _with_ids(new_ids, [row.events for row in rows]))
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


def _insert_sessions(connection: Connection, rows: list[_Row]) -> list[int]:
    ids: list[int] = []
    with connection.cursor() as cursor:
        cursor.executemany(_INSERT, [row.session for row in rows], returning=True)
        for result in cursor.results():
            ids += [row[0] for row in result.fetchall()]
    return ids


def _with_ids(ids: list[int], groups: list[list[tuple[Any, ...]]]) -> Iterator[tuple[Any, ...]]:
    for session_id, group in zip(ids, groups, strict=True):
        for row in group:
            yield (session_id, *row)


def _copy(
    connection: Connection, statement: LiteralString, rows: Iterable[tuple[Any, ...]]
) -> None:
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)


@dataclass(frozen=True, slots=True)
class _Row:
    """One session as rows, its id left out since the database gives it."""

    session: list[Any]
    plans: list[tuple[Any, ...]]
    steps: list[tuple[Any, ...]]
    attempts: list[tuple[Any, ...]]
    notes: list[tuple[Any, ...]]
    events: list[tuple[Any, ...]]

    @classmethod
    def of(cls, session: Session, encoder: _Encoder) -> _Row:
        """Take a session apart."""
        record = session_to_record(session)
        row = cls(
            session=[encoder.text(record.get(name), name) for name in _TEXT_COLUMNS]
            + [encoder.json(record[name], name) for name in _JSON_COLUMNS],
            plans=[],
            steps=[],
            attempts=[],
            notes=[],
            events=[],
        )
        if record["plan"] is not None:
            row.plans.append((encoder.json(record["plan"], "plan"),))
        seen: set[int] = set()
        for step in record["steps"]:
            if step["step_id"] in seen:
                raise AtlasError(
                    f"{encoder.place} has two steps with the id {step['step_id']}; a database "
                    "holds one: give each step its own id"
                )
            seen.add(step["step_id"])
            row._add_step(step, encoder)
        for index, event in enumerate(record.get("trajectory_events", ())):
            # The SDK's column holds JSON's null and no SQL null.
            text = encoder.json(event["event"], f"trajectory_events[{index}]") or "null"
            row.events.append((text, event["created_at"] or "now"))
        return row

    def _add_step(self, step: Record, encoder: _Encoder) -> None:
        step_id = step["step_id"]
        where = f"step {step_id}"
        if step["has_result"]:
            self.steps.append(
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
            self.attempts.append((step_id, attempt["attempt"], document))
        for note in step["guidance"]:
            text = encoder.text(note["note"], f"{where}, guidance")
            self.notes.append((step_id, note["sequence"], text))


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
