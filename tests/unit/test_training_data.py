from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg.sql import SQL, Identifier

from atlas.errors import AtlasError
from atlas.session import MISSING, Session, SessionReward, TrajectoryEvent
from atlas.traces.postgres.review import set_review_status
from atlas.traces.postgres.writing import write_sessions
from atlas.training_data import (
    count_training_sessions,
    count_training_sessions_async,
    get_session_by_id,
    get_session_by_id_async,
    get_training_sessions,
    get_training_sessions_async,
    paginate_sessions,
    paginate_sessions_async,
)

START = datetime(2025, 1, 1, tzinfo=UTC)


@pytest.fixture
def db_url(fresh_db_url: str) -> str:
    """Ten sessions, one an hour, scores 0.0 to 0.9, every other one failed."""
    write_sessions(
        fresh_db_url,
        [
            Session(
                task=f"task {number}",
                status="failed" if number % 2 else "succeeded",
                created_at=START + timedelta(hours=number),
                reward=SessionReward(score=number / 10),
                trajectory_events=(TrajectoryEvent(event={"n": number}),),
                student_learning="s",
            )
            for number in range(10)
        ],
    )
    return fresh_db_url


def tasks(sessions) -> list[int]:
    return [int(session.task.split()[1]) for session in sessions]


def test_the_guides_call_returns_the_good_sessions_newest_first(db_url):
    sessions = get_training_sessions(
        db_url=db_url, min_reward=0.4, status_filters=["succeeded"], limit=10000
    )

    assert tasks(sessions) == [8, 6, 4]
    assert [event.event for event in sessions[0].trajectory_events] == [{"n": 8}]


@pytest.mark.parametrize(
    "function", [get_training_sessions, paginate_sessions, count_training_sessions]
)
def test_the_default_is_the_guides_database(function):
    assert function.__defaults__ == ("postgresql://atlas:atlas@localhost:5433/atlas",)


def test_failures_are_kept_unless_filtered(db_url):
    assert count_training_sessions(db_url) == 10
    assert tasks(get_training_sessions(db_url, limit=3, offset=1)) == [8, 7, 6]


def test_every_filter_and_part_can_be_given(db_url):
    sessions = get_training_sessions(
        db_url,
        min_reward=0.1,
        max_reward=0.8,
        status_filters=["failed"],
        review_status_filters=["pending"],
        created_after=START + timedelta(hours=1),
        start_date=START + timedelta(hours=3),
        end_date=START + timedelta(hours=7),
        include_trajectory_events=False,
        include_learning_data=False,
    )

    assert tasks(sessions) == [7, 5, 3]
    assert sessions[0].trajectory_events is MISSING
    assert sessions[0].student_learning is MISSING
    assert get_training_sessions(db_url, learning_key="none") == []


def test_plain_calls_work_inside_a_running_event_loop(db_url):
    async def notebook_cell() -> tuple[list[Session], int, int]:
        pages = list(paginate_sessions(db_url, page_size=4))
        return get_training_sessions(db_url), count_training_sessions(db_url), len(pages)

    sessions, count, num_pages = asyncio.run(notebook_cell())
    assert (len(sessions), count, num_pages) == (10, 10, 3)


def test_the_async_twins_say_the_same(db_url):
    async def ask() -> None:
        sessions = await get_training_sessions_async(db_url, min_reward=0.5)
        assert sessions == get_training_sessions(db_url, min_reward=0.5)
        assert await count_training_sessions_async(db_url, max_reward=0.3) == 4
        session_id = sessions[0].id
        assert await get_session_by_id_async(db_url, session_id) == sessions[0]
        pages = [
            tasks(page) async for page in paginate_sessions_async(db_url, page_size=3, limit=7)
        ]
        assert pages == [[9, 8, 7], [6, 5, 4], [3]]

    asyncio.run(ask())


def test_a_session_is_found_by_its_id_or_is_none(db_url):
    [newest] = get_training_sessions(db_url, limit=1)

    assert get_session_by_id(db_url, newest.id) == newest
    assert get_session_by_id(db_url, newest.id, include_learning_data=False) != newest
    assert get_session_by_id(db_url, 10**18) is None


TABLES = [
    *("sessions", "plans", "step_results", "step_attempts", "guidance_notes"),
    *("trajectory_events", "learning_registry", "discovery_runs"),
]
INJECTIONS = st.sampled_from(
    [
        "'; DROP TABLE sessions; --",
        "k') OR 1=1 --",
        "%s %(x)s {0} $1",
        '"; DELETE FROM plans; --',
        "\\'; SELECT pg_sleep(9); --",
        "{succeeded,failed}",
    ]
) | st.text(st.sampled_from("'\"\\;-%$(){}=1 ORs"), max_size=9)
PROPERTY = settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.generate],
)


def contents(db_url: str) -> list[object]:
    """Return what tables there are and every row of ours."""
    with psycopg.connect(db_url) as connection:
        relations = "SELECT oid, relname FROM pg_class WHERE relnamespace::regnamespace::text = %s"
        schema = connection.execute("SELECT current_schema").fetchone()
        found: list[object] = [sorted(connection.execute(relations, schema).fetchall())]
        for table in TABLES:
            statement = SQL("SELECT t::text FROM {} AS t ORDER BY 1").format(Identifier(table))
            found.append(connection.execute(statement).fetchall())
    return found


def found_by_all(db_url: str, **filters) -> list[int]:
    """Return how many sessions each of the public functions finds."""

    async def ask() -> list[int]:
        pages = [len(page) async for page in paginate_sessions_async(db_url, **filters)]
        sessions = await get_training_sessions_async(db_url, **filters)
        return [sum(pages), len(sessions), await count_training_sessions_async(db_url, **filters)]

    pages = [len(page) for page in paginate_sessions(db_url, **filters)]
    sessions = get_training_sessions(db_url, **filters)
    found = [sum(pages), len(sessions), count_training_sessions(db_url, **filters)]
    return [*found, *asyncio.run(ask())]


@given(text=INJECTIONS)
@PROPERTY
def test_no_text_in_a_filter_or_an_id_is_run(text, db_url):
    before = contents(db_url)

    assert found_by_all(db_url, learning_key=text) == [0] * 6
    assert found_by_all(db_url, status_filters=[text]) == [0] * 6
    assert found_by_all(db_url, review_status_filters=[text, text]) == [0] * 6
    assert found_by_all(db_url, status_filters=["succeeded", text]) == [5] * 6
    number: Any = f"1{text}x"
    with pytest.raises(AtlasError):
        get_session_by_id(db_url, number)
    with pytest.raises(AtlasError):
        asyncio.run(get_session_by_id_async(db_url, number))
    with pytest.raises(AtlasError):
        set_review_status(db_url, [number], "approved", text)
    assert contents(db_url) == before


@given(text=INJECTIONS)
@PROPERTY
def test_no_text_in_a_db_url_is_run(text, db_url):
    before, expected = contents(db_url), get_training_sessions(db_url)
    coded = quote(f"x{text}", safe="")
    server = db_url.split("?")[1]

    for user in (coded, f"{coded}:{coded}"):
        with pytest.raises(AtlasError, match="role"):
            get_training_sessions(f"postgresql://{user}@/postgres?{server}")
    with pytest.raises(AtlasError, match="does not exist"):
        get_training_sessions(f"postgresql://postgres@/{coded}?{server}")
    with pytest.raises(AtlasError, match="db_url can't be read"):
        get_training_sessions(f"x{text}")
    assert get_training_sessions(f"{db_url}&application_name={coded}") == expected
    assert contents(db_url) == before


def test_names_of_columns_that_look_like_sql_are_only_names(db_url):
    with psycopg.connect(db_url, autocommit=True) as connection:
        connection.execute('ALTER TABLE sessions ADD "x""; DROP TABLE plans; --" INT DEFAULT 7')

    [session] = get_training_sessions(db_url, limit=1)
    assert session.extra == {'x"; DROP TABLE plans; --': 7}
    assert contents(db_url)


def open_connections(db_url: str) -> int:
    with psycopg.connect(db_url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchone()
    return row[0] if row else -1


def test_leaving_async_pages_early_or_by_cancelling_closes_the_connection(db_url):
    async def leave_early() -> None:
        pages = paginate_sessions_async(db_url, page_size=2)
        async for _ in pages:
            break
        await pages.aclose()

    asyncio.run(leave_early())

    reached = threading.Event()

    async def wait_for_ever() -> None:
        reached.set()
        async for _ in paginate_sessions_async(db_url, page_size=2):
            pass

    async def cancel() -> None:
        with psycopg.connect(db_url) as blocker:
            blocker.execute("LOCK TABLE plans IN ACCESS EXCLUSIVE MODE")
            task = asyncio.create_task(wait_for_ever())
            while not reached.is_set():
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            task.cancel()
            await asyncio.sleep(0)
            blocker.rollback()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    for _ in range(200):  # the server notices a closed connection a moment later
        if open_connections(db_url) == 0:
            break
    assert open_connections(db_url) == 0


def test_every_function_gives_up_after_the_time_that_it_is_given(db_url):
    with psycopg.connect(db_url) as blocker:
        blocker.execute("LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE")
        for call in (
            lambda: get_training_sessions(db_url, statement_timeout_s=0.05),
            lambda: next(paginate_sessions(db_url, statement_timeout_s=0.05)),
            lambda: get_session_by_id(db_url, 1, statement_timeout_s=0.05),
            lambda: count_training_sessions(db_url, statement_timeout_s=0.05),
            lambda: asyncio.run(get_training_sessions_async(db_url, statement_timeout_s=0.05)),
            lambda: asyncio.run(get_session_by_id_async(db_url, 1, statement_timeout_s=0.05)),
            lambda: asyncio.run(count_training_sessions_async(db_url, statement_timeout_s=0.05)),
            lambda: asyncio.run(
                anext(paginate_sessions_async(db_url, statement_timeout_s=0.05))  # pyright: ignore
            ),
        ):
            with pytest.raises(AtlasError, match=r"took too long.* raise statement_timeout_s"):
                call()


def test_mistakes_are_said_before_anything_is_read(db_url):
    with pytest.raises(TypeError, match="min_rewrd"):
        get_training_sessions(db_url, min_rewrd=0.8)  # pyright: ignore[reportCallIssue]
    with pytest.raises(ValueError, match="status_filters is the text"):
        get_training_sessions(db_url, status_filters="succeeded")
    with pytest.raises(ValueError, match="statement_timeout_s is 0"):
        count_training_sessions(db_url, statement_timeout_s=0)
    with pytest.raises(AtlasError, match=r"127\.0\.0\.1:1"):
        get_training_sessions("postgresql://atlas:atlas@127.0.0.1:1/atlas")
