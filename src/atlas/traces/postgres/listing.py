"""Which sessions come next, and where their events are.

Stage: under ``postgres``. ``SessionQuery`` and a position -> the ids of the sessions that follow,
cut into pages. A database of the Atlas SDK has no index that holds its sessions in order, nor one
that leads from a session to its events: finding them takes a pass over the whole table. A listing
makes one such pass for many pages; all that it keeps of a session or an event is its number.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString

from atlas.traces.postgres.connection import Connection, rows_of
from atlas.traces.store import SessionQuery

FIRST_LISTING_PAGES: Final = 8
"""Few, so that the first page comes soon; each listing is twice as long as the one before."""
MAX_LISTED_SESSIONS: Final = 50_000
MAX_LISTED_EVENTS: Final = 2_000_000
"""About 16 MB of ids."""
EVENT_ID_SLACK: Final = 1_000
"""Ids are given out before they are committed, by this many events at most, it is assumed."""

# A score that is no JSON number counts as none: a cast of text would fail the whole query.
_SCORE: Final = (
    "COALESCE("
    "CASE WHEN jsonb_typeof(reward -> 'score') = 'number'"
    " THEN (reward -> 'score')::numeric END,"
    " CASE WHEN jsonb_typeof(reward_stats -> 'score') = 'number'"
    " THEN (reward_stats -> 'score')::numeric END)"
)
_LEARNING_KEY: Final = (
    "(metadata ->> 'learning_key' = %s AND jsonb_typeof(metadata -> 'learning_key') = 'string')"
)
_IS_INDEXED: Final = (
    "SELECT EXISTS (SELECT FROM pg_index JOIN pg_attribute"
    " ON attrelid = indrelid AND attnum = indkey[0]"
    " WHERE indrelid = to_regclass('trajectory_events') AND attname = 'session_id'"
    " AND indisvalid AND indpred IS NULL)"
)
_EVENT_IDS: Final = (
    "SELECT (place - 1) / %s, count(*), array_agg(trajectory_events.id)::text"
    " FROM unnest(%s::bigint[]) WITH ORDINALITY AS listed (listed_id, place)"
    " JOIN trajectory_events ON session_id = listed_id GROUP BY 1"
)
_NEWEST_EVENT: Final = "SELECT COALESCE(max(id), 0) FROM trajectory_events"


@dataclass(frozen=True, slots=True)
class Position:
    """The last session of a listing; the next one starts after it."""

    created_at: datetime | str | None
    """Text where Python has no such time, as for ``infinity``."""
    id: int


@dataclass(frozen=True, slots=True)
class ListedEvents:
    """Where the events of a page are, for a table without an index by session."""

    ids: str
    """PostgreSQL's text of an array. It goes back as it came, so nothing here reads it."""
    later_than: int
    """An event with a greater id may have come after the listing."""


@dataclass(frozen=True, slots=True)
class ListedPage:
    """The sessions of one page, in order."""

    ids: list[int]
    events: ListedEvents | None = None
    """None: an index leads from the session to its events."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The next sessions that pass, cut into pages."""

    pages: list[ListedPage]
    num_sessions: int
    num_events: int
    """Listed ones; 0 where an index makes that unnecessary."""
    last: Position | None

    def next_size(self, page_size: int) -> int:
        """Return how many sessions the next listing should hold."""
        size = min(2 * self.num_sessions, MAX_LISTED_SESSIONS)
        if self.num_events:
            size = min(size, MAX_LISTED_EVENTS * self.num_sessions // self.num_events)
        return max(size - size % page_size, page_size)


def where(query: SessionQuery, after: Position | None = None) -> tuple[LiteralString, list[Any]]:
    """Return the conditions of a query, ``true`` where there are none, and their bound values."""
    bounds: list[tuple[LiteralString, Any]] = [
        (f"{_SCORE} >= %s::numeric", _exactly(query.min_reward)),
        (f"{_SCORE} <= %s::numeric", _exactly(query.max_reward)),
        ("status = ANY(%s)", _as_list(query.status_filters)),
        ("review_status = ANY(%s)", _as_list(query.review_status_filters)),
        (_LEARNING_KEY, query.learning_key),
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
    clauses: list[LiteralString] = [clause for clause, _ in conditions] or ["true"]
    return " AND ".join(clauses), [value for _, bound in conditions for value in bound]


def events_are_indexed(connection: Connection) -> bool:
    """Return whether an index leads from a session to its events."""
    return rows_of(connection, _IS_INDEXED, [])[0][0]


def list_sessions(
    connection: Connection,
    query: SessionQuery,
    *,
    after: Position | None,
    size: int,
    page_size: int,
    list_events: bool,
) -> Listing:
    """List the next sessions that pass, newest first.

    Args:
        connection: In a transaction that sees one state of the database.
        query: Its ``limit`` is the caller's to keep; its ``offset`` counts where ``after`` is None.
        after: Where the listing before ended.
        size: At most so many sessions.
        list_events: Whether the ids of the events are needed, too.
    """
    conditions, values = where(query, after)
    rows = rows_of(
        connection,
        f"SELECT id, created_at FROM sessions WHERE {conditions}"
        " ORDER BY created_at DESC, id DESC LIMIT %s OFFSET %s",
        [*values, size, query.offset if after is None else 0],
    )
    ids = [row[0] for row in rows]
    pages = [ids[start : start + page_size] for start in range(0, len(ids), page_size)]
    events: dict[int, str] = {}
    num_events = 0
    newest = 0
    if list_events and ids:
        newest = rows_of(connection, _NEWEST_EVENT, [])[0][0]
        for page, count, event_ids in rows_of(connection, _EVENT_IDS, [page_size, ids]):
            events[page] = event_ids
            num_events += count
    return Listing(
        pages=[
            ListedPage(
                page,
                ListedEvents(events.get(number, "{}"), newest - EVENT_ID_SLACK)
                if list_events
                else None,
            )
            for number, page in enumerate(pages)
        ],
        num_sessions=len(ids),
        num_events=num_events,
        last=Position(rows[-1][1], rows[-1][0]) if rows else None,
    )


def _exactly(bound: float | None) -> str | None:
    """Return a bound digit by digit; the server rounds a float to 15 digits where it makes one."""
    return None if bound is None else str(bound if type(bound) is int else float(bound))


def _as_list(statuses: Any) -> list[str] | None:
    """Return what the driver takes for an array; a tuple it would take for a row."""
    return None if statuses is None else list(statuses)
