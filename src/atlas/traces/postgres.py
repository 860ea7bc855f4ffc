"""Reading sessions from PostgreSQL.

Stage: ``SessionQuery`` -> pages of ``Session``, newest first. Whatever the number of sessions, a
page costs one query each for sessions, plans, steps, attempts, guidance and events, in one
read-only transaction; the next page starts after the last (created_at, id), so that no page
skips or repeats a session that was there before. Only bound parameters reach the server.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final, LiteralString

from psycopg.rows import dict_row

from atlas.errors import AtlasError
from atlas.session import Session
from atlas.traces.codec import session_from_record
from atlas.traces.codec_fields import MisshapenError, Record
from atlas.traces.postgres_connection import Connection, Reader
from atlas.traces.store import DEFAULT_PAGE_SIZE, SessionQuery

_COLUMNS: Final = (
    "id, task, status, final_answer, review_status, review_notes, created_at, completed_at,"
    " reward AS session_reward, reward_stats, reward_audit,"
)
_LEARNING_COLUMNS: Final = " metadata AS session_metadata, student_learning, teacher_learning"
_NO_LEARNING_COLUMNS: Final = (
    " CASE WHEN jsonb_typeof(metadata) = 'object' THEN metadata - 'learning_history'"
    " ELSE metadata END AS session_metadata"
)
# A score that is no JSON number counts as none: a cast of text would fail the whole query.
_SCORE: Final = (
    "COALESCE("
    "CASE WHEN jsonb_typeof(reward -> 'score') = 'number'"
    " THEN (reward -> 'score')::numeric END,"
    " CASE WHEN jsonb_typeof(reward_stats -> 'score') = 'number'"
    " THEN (reward_stats -> 'score')::numeric END)"
)
_PLANS: Final = "SELECT session_id, plan FROM plans WHERE session_id = ANY(%s)"
_STEPS: Final = (
    "SELECT session_id, step_id, trace, output, evaluation, attempts, metadata"
    " FROM step_results WHERE session_id = ANY(%s)"
)
_ATTEMPTS: Final = (
    "SELECT session_id, step_id, attempt, evaluation"
    " FROM step_attempts WHERE session_id = ANY(%s) ORDER BY session_id, step_id, attempt"
)
_NOTES: Final = (
    "SELECT session_id, step_id, sequence, note"
    " FROM guidance_notes WHERE session_id = ANY(%s) ORDER BY session_id, step_id, sequence"
)
_EVENTS: Final = (
    "SELECT session_id, id, event, created_at"
    " FROM trajectory_events WHERE session_id = ANY(%s) ORDER BY session_id, id"
)


@dataclass(frozen=True, slots=True)
class _Position:
    """The last session of a page; the next page starts after it."""

    created_at: datetime | None
    id: int


class PostgresTraceStore:
    """Sessions in a PostgreSQL database with the Atlas SDK's tables.

    Args:
        db_url: ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE``.
        page_size: Sessions per page, the most that are in memory at a time.
        statement_timeout_s: The server cancels a statement that takes longer, in seconds.
        retry_s: How long to wait for a server that goes away in the middle, in seconds.

    Raises:
        AtlasError: ``db_url`` can't be read.
    """

    def __init__(
        self,
        db_url: str,
        *,
        page_size: int = DEFAULT_PAGE_SIZE,
        statement_timeout_s: float = 60.0,
        retry_s: float = 30.0,
    ) -> None:
        if page_size < 1:
            raise ValueError(f"page_size is {page_size}: it must be at least 1")
        self._page_size = page_size
        self._reader = Reader(db_url=db_url, timeout_s=statement_timeout_s, retry_s=retry_s)

    def pages(self, query: SessionQuery) -> Generator[list[Session]]:
        """Yield the sessions, newest first, in pages; no page is empty.

        A connection is held as long as the iterator is, a transaction only while a page is read.

        Raises:
            AtlasError: the server can't be reached, isn't an Atlas database or takes too long.
        """
        left = query.limit
        position: _Position | None = None
        with self._reader.connected() as read:
            while left is None or left > 0:
                size = self._page_size if left is None else min(left, self._page_size)
                page = read(partial(_read_page, query=query, after=position, size=size))
                if page:
                    yield page
                if len(page) < size:
                    return
                position = _Position(page[-1].created_at, page[-1].id or 0)
                left = None if left is None else left - len(page)

    def sessions(self, query: SessionQuery) -> Iterator[Session]:
        """Yield the sessions one by one, newest first; see ``pages``."""
        for page in self.pages(query):
            yield from page

    def count(self, query: SessionQuery) -> int:
        """Return how many sessions pass the filters, ``limit`` and ``offset`` set aside.

        Raises:
            AtlasError: as in ``pages``.
        """
        where, values = _where(query)
        number = partial(_all, statement=f"SELECT count(*) FROM sessions{where}", values=values)
        with self._reader.connected() as read:
            return read(number)[0][0]

    def get(
        self,
        session_id: int,
        *,
        include_trajectory_events: bool = True,
        include_learning_data: bool = True,
    ) -> Session | None:
        """Return one session, or None where there is none of this id.

        Raises:
            AtlasError: as in ``pages``.
        """
        columns = _LEARNING_COLUMNS if include_learning_data else _NO_LEARNING_COLUMNS
        one = partial(
            _assemble,
            statement=f"SELECT {_COLUMNS}{columns} FROM sessions WHERE id = %s",
            values=[session_id],
            with_events=include_trajectory_events,
        )
        with self._reader.connected() as read:
            found = read(one)
        return found[0] if found else None


def _where(query: SessionQuery, after: _Position | None = None) -> tuple[LiteralString, list[Any]]:
    """Return the WHERE clause of a query and the values bound to it."""
    bounds: list[tuple[LiteralString, Any]] = [
        (f"{_SCORE} >= %s::numeric", query.min_reward),
        (f"{_SCORE} <= %s::numeric", query.max_reward),
        ("status = ANY(%s)", _as_list(query.status_filters)),
        ("review_status = ANY(%s)", _as_list(query.review_status_filters)),
        ("metadata ->> 'learning_key' = %s", query.learning_key),
        ("created_at >= %s", query.earliest),
        ("created_at <= %s", query.latest),
    ]
    conditions: list[tuple[LiteralString, list[Any]]] = [
        (clause, [value]) for clause, value in bounds if value is not None
    ]
    if after is not None and after.created_at is None:
        # Nulls come first where the newest come first.
        conditions.append(("(created_at IS NOT NULL OR id < %s)", [after.id]))
    elif after is not None:
        conditions.append(("(created_at, id) < (%s, %s)", [after.created_at, after.id]))
    if not conditions:
        return "", []
    clauses: list[LiteralString] = [clause for clause, _ in conditions]
    return " WHERE " + " AND ".join(clauses), [value for _, bound in conditions for value in bound]


def _read_page(
    connection: Connection, query: SessionQuery, after: _Position | None, size: int
) -> list[Session]:
    where, values = _where(query, after)
    columns = _LEARNING_COLUMNS if query.include_learning_data else _NO_LEARNING_COLUMNS
    statement = (
        f"SELECT {_COLUMNS}{columns} FROM sessions{where}"
        " ORDER BY created_at DESC, id DESC LIMIT %s OFFSET %s"
    )
    values += [size, query.offset if after is None else 0]
    return _assemble(connection, statement, values, with_events=query.include_trajectory_events)


def _assemble(
    connection: Connection, statement: LiteralString, values: list[Any], *, with_events: bool
) -> list[Session]:
    """Read the sessions that a statement selects with everything that belongs to them."""
    with connection.cursor(row_factory=dict_row) as cursor:
        records = cursor.execute(statement, values).fetchall()
    if not records:
        return []
    ids = [record["id"] for record in records]
    plans = dict(_all(connection, _PLANS, [ids]))
    steps = _read_steps(connection, ids)
    events: dict[int, list[Record]] = defaultdict(list)
    if with_events:
        for session_id, event_id, event, created_at in _all(connection, _EVENTS, [ids]):
            events[session_id].append({"id": event_id, "event": event, "created_at": created_at})
    sessions: list[Session] = []
    for record in records:
        session_id = record["id"]
        record["plan"] = plans.get(session_id)
        record["steps"] = [steps[session_id][key] for key in sorted(steps[session_id])]
        if with_events:
            record["trajectory_events"] = events[session_id]
        sessions.append(_session(record))
    return sessions


def _read_steps(connection: Connection, ids: list[int]) -> dict[int, dict[int, Record]]:
    """Return the step records of the sessions by session and step id."""
    steps: dict[int, dict[int, Record]] = defaultdict(dict)
    for session_id, step_id, trace, output, evaluation, attempts, metadata in _all(
        connection, _STEPS, [ids]
    ):
        steps[session_id][step_id] = {
            "step_id": step_id,
            "trace": trace,
            "output": output,
            "evaluation": evaluation,
            "attempts": attempts,
            "metadata": metadata,
            "attempt_details": [],
            "guidance": [],
        }
    for session_id, step_id, attempt, evaluation in _all(connection, _ATTEMPTS, [ids]):
        step = steps[session_id].setdefault(step_id, _without_result(step_id))
        step["attempt_details"].append({"attempt": attempt, "evaluation": evaluation})
    for session_id, step_id, sequence, note in _all(connection, _NOTES, [ids]):
        step = steps[session_id].setdefault(step_id, _without_result(step_id))
        step["guidance"].append({"sequence": sequence, "note": note})
    return steps


def _without_result(step_id: int) -> Record:
    return {"step_id": step_id, "has_result": False, "attempt_details": [], "guidance": []}


def _session(record: Record) -> Session:
    try:
        return session_from_record(record)
    except MisshapenError as error:
        raise AtlasError(f"session {record['id']} of the database can't be read: {error}") from None


def _all(connection: Connection, statement: LiteralString, values: list[Any]) -> list[Any]:
    return connection.execute(statement, values).fetchall()


def _as_list(statuses: Any) -> list[str] | None:
    """Return what the driver takes for an array; a tuple it would take for a row."""
    return None if statuses is None else list(statuses)
