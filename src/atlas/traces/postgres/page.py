"""The sessions of one page, with everything that belongs to them.

Stage: under ``postgres``. A ``ListedPage`` -> ``Session`` by one query each for sessions, plans,
steps, attempts, guidance and events, whatever the number of sessions.
"""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, LiteralString

from psycopg.rows import dict_row

from atlas.errors import AtlasError
from atlas.session import Session
from atlas.traces.codec import session_from_record
from atlas.traces.codec_fields import MisshapenError, Record
from atlas.traces.postgres.connection import Connection, rows_of
from atlas.traces.postgres.listing import ListedPage, where
from atlas.traces.store import SessionQuery

_COLUMNS: Final = (
    "id, task, status, final_answer, review_status, review_notes, created_at, completed_at,"
    " reward AS session_reward, reward_stats, reward_audit,"
)
_LEARNING_COLUMNS: Final = " metadata AS session_metadata, student_learning, teacher_learning"
_NO_LEARNING_COLUMNS: Final = (
    " CASE WHEN jsonb_typeof(metadata) = 'object' THEN metadata - 'learning_history'"
    " ELSE metadata END AS session_metadata"
)
_PLANS: Final = "SELECT session_id, plan FROM plans WHERE session_id = ANY(%s)"
_STEP_COLUMNS: Final = "session_id, step_id, trace, output, evaluation, attempts, metadata"
_ATTEMPTS: Final = (
    "SELECT session_id, step_id, attempt, evaluation"
    " FROM step_attempts WHERE session_id = ANY(%s) ORDER BY session_id, step_id, attempt"
)
_NOTES: Final = (
    "SELECT session_id, step_id, sequence, note"
    " FROM guidance_notes WHERE session_id = ANY(%s) ORDER BY session_id, step_id, sequence"
)
_EVENTS: Final = "SELECT session_id, id, event, created_at FROM trajectory_events"
_EVENTS_BY_SESSION: Final = f"{_EVENTS} WHERE session_id = ANY(%s) ORDER BY session_id, id"
_EVENTS_BY_ID: Final = (
    f"{_EVENTS} WHERE (id = ANY(%s::bigint[]) OR id > %s) AND session_id = ANY(%s)"
    " ORDER BY session_id, id"
)
_KNOWN_SESSION_COLUMNS: Final = [
    *("id", "task", "status", "final_answer", "review_status", "review_notes", "metadata"),
    *("created_at", "completed_at", "reward", "reward_stats", "reward_audit"),
    *("student_learning", "teacher_learning"),
]
_KNOWN_STEP_COLUMNS: Final = _STEP_COLUMNS.split(", ")
_HAS_OTHERS: Final = (
    "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('sessions')"
    " AND attnum > 0 AND NOT attisdropped AND attname <> ALL(%s)),"
    " EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('step_results')"
    " AND attnum > 0 AND NOT attisdropped AND attname <> ALL(%s))"
)


@dataclass(frozen=True, slots=True)
class OtherColumns:
    """Which tables have columns that no version of the schema knows; they go to ``extra``."""

    sessions: bool
    steps: bool


def find_other_columns(connection: Connection) -> OtherColumns:
    """Look for columns that the schema does not have."""
    known = [_KNOWN_SESSION_COLUMNS, _KNOWN_STEP_COLUMNS]
    return OtherColumns(*rows_of(connection, _HAS_OTHERS, known)[0])


def read_page(
    connection: Connection, page: ListedPage, query: SessionQuery, others: OtherColumns
) -> list[Session]:
    """Read the sessions of a page in its order.

    A session that is gone, or does not pass any longer, is left out.

    Args:
        connection: In a transaction that sees one state of the database.
        query: Its filters and what it leaves out of each session.

    Raises:
        AtlasError: a session can't be read; the text names it.
    """
    with collector_paused():
        records = _read_sessions(connection, page.ids, query, others)
        if not records:
            return []
        plans = dict(rows_of(connection, _PLANS, [page.ids]))
        steps = _read_steps(connection, page.ids, others)
        events = _read_events(connection, page) if query.include_trajectory_events else None
        sessions: list[Session] = []
        for session_id in page.ids:
            record = records.get(session_id)
            if record is None:
                continue
            record["plan"] = plans.get(session_id)
            record["steps"] = [steps[session_id][key] for key in sorted(steps[session_id])]
            if events is not None:
                record["trajectory_events"] = events[session_id]
            sessions.append(_session(record))
        return sessions


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keep Python from looking for cycles in the block: documents have none, and it takes long."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _read_sessions(
    connection: Connection, ids: list[int], query: SessionQuery, others: OtherColumns
) -> dict[int, Record]:
    """Return the records of the sessions, without what other tables hold, by id."""
    columns = _COLUMNS
    columns += _LEARNING_COLUMNS if query.include_learning_data else _NO_LEARNING_COLUMNS
    conditions, values = where(query)
    values = [ids, *values]
    if others.sessions:
        columns += ", to_jsonb(sessions) - %s::text[] AS others"
        values.insert(0, _KNOWN_SESSION_COLUMNS)
    statement = f"SELECT {columns} FROM sessions WHERE id = ANY(%s) AND {conditions}"
    with connection.cursor(row_factory=dict_row) as cursor:
        records = cursor.execute(statement, values).fetchall()
    return {record["id"]: _with_others(record, record.pop("others", None)) for record in records}


def _read_steps(
    connection: Connection, ids: list[int], others: OtherColumns
) -> dict[int, dict[int, Record]]:
    """Return the step records of the sessions by session and step id."""
    columns: LiteralString = f"{_STEP_COLUMNS}, NULL"
    values: list[Any] = [ids]
    if others.steps:
        columns = f"{_STEP_COLUMNS}, to_jsonb(step_results) - %s::text[]"
        values.insert(0, _KNOWN_STEP_COLUMNS)
    statement = f"SELECT {columns} FROM step_results WHERE session_id = ANY(%s)"
    steps: dict[int, dict[int, Record]] = defaultdict(dict)
    for session_id, step_id, trace, output, evaluation, attempts, metadata, other in rows_of(
        connection, statement, values
    ):
        record = {
            "step_id": step_id,
            "trace": trace,
            "output": output,
            "evaluation": evaluation,
            "attempts": attempts,
            "metadata": metadata,
            "attempt_details": [],
            "guidance": [],
        }
        steps[session_id][step_id] = _with_others(record, other)
    for session_id, step_id, attempt, evaluation in rows_of(connection, _ATTEMPTS, [ids]):
        step = steps[session_id].setdefault(step_id, _without_result(step_id))
        step["attempt_details"].append({"attempt": attempt, "evaluation": evaluation})
    for session_id, step_id, sequence, note in rows_of(connection, _NOTES, [ids]):
        step = steps[session_id].setdefault(step_id, _without_result(step_id))
        step["guidance"].append({"sequence": sequence, "note": note})
    return steps


def _read_events(connection: Connection, page: ListedPage) -> dict[int, list[Record]]:
    """Return the event records of the sessions by session, in the order of recording."""
    if page.events is None:
        rows = rows_of(connection, _EVENTS_BY_SESSION, [page.ids])
    else:
        listed = [page.events.ids, page.events.later_than, page.ids]
        rows = rows_of(connection, _EVENTS_BY_ID, listed)
    events: dict[int, list[Record]] = defaultdict(list)
    for session_id, event_id, event, created_at in rows:
        if isinstance(created_at, str):
            created_at = None  # no time that Python has
        events[session_id].append({"id": event_id, "event": event, "created_at": created_at})
    return events


def _with_others(record: Record, others: Record | None) -> Record:
    """Add the columns that the schema does not have; a null there is no news about a row."""
    for name, value in (others or {}).items():
        if value is not None:
            record.setdefault(name, value)
    return record


def _without_result(step_id: int) -> Record:
    return {"step_id": step_id, "has_result": False, "attempt_details": [], "guidance": []}


def _session(record: Record) -> Session:
    try:
        return session_from_record(record)
    except MisshapenError as error:
        raise AtlasError(f"session {record['id']} of the database can't be read: {error}") from None
