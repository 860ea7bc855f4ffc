from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from atlas.session import Session
from atlas.traces.postgres import listing as postgres_listing
from atlas.traces.postgres.connection import connect
from atlas.traces.postgres.listing import (
    FIRST_LISTING_PAGES,
    MAX_LISTED_EVENTS,
    MAX_LISTED_SESSIONS,
    Listing,
    events_are_indexed,
)
from atlas.traces.postgres.reading import PostgresTraceStore
from atlas.traces.postgres.review import set_review_status
from atlas.traces.postgres.writing import write_sessions
from atlas.traces.store import SessionQuery

ALL = SessionQuery()
START = datetime(2025, 1, 1, tzinfo=UTC)
MANY = 3 * FIRST_LISTING_PAGES * 2 + 1
"""Sessions that take, at two a page, a first listing, one of twice its length and a third."""


def execute(db_url: str, statement: str) -> None:
    with psycopg.connect(db_url, autocommit=True) as connection:
        connection.execute(statement)


def numbers(sessions) -> list[int]:
    return [session.metadata["number"] for session in sessions]


@pytest.fixture
def many(make_session: Callable[..., Session]) -> list[Session]:
    """Sessions in an order of their own, three a time, the newest first."""
    sessions = [
        make_session(n, num_events=n % 4, created_at=START + timedelta(hours=n * 7 % MANY // 3))
        for n in range(MANY)
    ]
    newest_first = sorted(enumerate(sessions), key=lambda item: (item[1].created_at, item[0]))
    return [session for _, session in reversed(newest_first)]


def written(db_url: str, sessions: list[Session]) -> None:
    write_sessions(db_url, sorted(sessions, key=lambda session: session.metadata["number"]))


def test_the_sdks_tables_lead_from_no_session_to_its_events_and_ours_do(sdk_db_url):
    with closing(connect(sdk_db_url)) as connection:
        assert not events_are_indexed(connection)
        connection.execute("CREATE INDEX ON trajectory_events (created_at, session_id)")
        connection.execute("CREATE INDEX ON trajectory_events (session_id) WHERE id > 5")
        assert not events_are_indexed(connection)
        connection.execute("CREATE INDEX ON trajectory_events (session_id, created_at)")
        assert events_are_indexed(connection)


@pytest.mark.parametrize("tables", ["sdk_db_url", "fresh_db_url"])
def test_all_sessions_come_once_in_order_with_their_events_over_many_listings(
    tables, many, request, monkeypatch
):
    # Else every event here would count as one that may have come after the listing.
    monkeypatch.setattr(postgres_listing, "EVENT_ID_SLACK", 0)
    db_url = request.getfixturevalue(tables)
    written(db_url, many)
    store = PostgresTraceStore(db_url, page_size=2)

    assert list(store.sessions(ALL)) == many
    assert list(store.sessions(SessionQuery(offset=3, limit=40))) == many[3:43]
    assert {len(page) for page in store.pages(ALL)} == {1, 2}


def test_a_pass_over_the_sdks_tables_scans_them_once_a_listing(sdk_db_url, many, monkeypatch):
    written(sdk_db_url, many)
    statements: list[str] = []
    execute = psycopg.Cursor.execute

    def counting(self, query, *args, **kwargs):
        statements.append(str(query))
        return execute(self, query, *args, **kwargs)

    monkeypatch.setattr(psycopg.Cursor, "execute", counting)
    assert len(list(PostgresTraceStore(sdk_db_url, page_size=2).pages(ALL))) == (MANY + 1) // 2

    assert sum("ORDER BY created_at" in line for line in statements) == 3
    assert sum("JOIN trajectory_events" in line for line in statements) == 3
    assert sum("id = ANY(%s::bigint[])" in line for line in statements) == (MANY + 1) // 2


def test_an_event_recorded_after_the_listing_is_there(sdk_db_url, make_session):
    ids = write_sessions(sdk_db_url, [make_session(n) for n in range(4)])
    pages = PostgresTraceStore(sdk_db_url, page_size=2).pages(ALL)

    next(pages)
    execute(
        sdk_db_url,
        f"INSERT INTO trajectory_events (session_id, event) VALUES ({ids[0]}, '\"late\"');"
        f"UPDATE sessions SET status = 'failed' WHERE id = {ids[0]}",
    )
    last = next(pages)[1]
    assert last.status == "failed"
    assert [event.event for event in last.trajectory_events][2:] == ["late"]
    assert len(last.trajectory_events) == 3


def test_an_event_that_was_being_recorded_during_the_listing_is_there(sdk_db_url, make_session):
    ids = write_sessions(sdk_db_url, [make_session(n, num_events=1) for n in range(4)])
    with psycopg.connect(sdk_db_url) as slow:
        slow.execute(
            "INSERT INTO trajectory_events (session_id, event) VALUES (%s, '\"slow\"')", ids[:1]
        )
        execute(
            sdk_db_url,
            f"INSERT INTO trajectory_events (session_id, event) VALUES ({ids[1]}, '\"fast\"')",
        )
        pages = PostgresTraceStore(sdk_db_url, page_size=2).pages(ALL)
        next(pages)
    events = [[event.event for event in session.trajectory_events] for session in next(pages)]
    assert [found[1:] for found in events] == [["fast"], ["slow"]]


def test_what_goes_or_is_quarantined_after_the_listing_is_left_out(fresh_db_url, make_session):
    ids = write_sessions(fresh_db_url, [make_session(n) for n in range(9)])
    query = SessionQuery(review_status_filters=["pending"], limit=6)
    pages = PostgresTraceStore(fresh_db_url, page_size=2).pages(query)

    found = [numbers(next(pages))]
    execute(fresh_db_url, f"DELETE FROM sessions WHERE id = {ids[6]}")
    set_review_status(fresh_db_url, [ids[5], ids[4]], "quarantined")
    found += [numbers(page) for page in pages]
    # The limit is kept by sessions that were not listed at first.
    assert found == [[8, 7], [3], [2, 1], [0]]


@pytest.mark.parametrize(
    ("num_sessions", "num_events", "expected"),
    [
        (4_000, 48_000, 8_000),
        (40_000, 0, MAX_LISTED_SESSIONS),
        (4_000, 4_000_000, MAX_LISTED_EVENTS // 1000),
        (4_000, 4_000_000_000, 500),
        (0, 0, 500),
    ],
)
def test_a_listing_grows_to_what_is_kept_in_memory_in_whole_pages(
    num_sessions, num_events, expected
):
    listing = Listing([], num_sessions, num_events, None)

    assert listing.next_size(page_size=500) == expected
