from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from atlas.errors import AtlasError
from atlas.session import (
    MISSING,
    GuidanceNote,
    Session,
    SessionReward,
    Step,
    TrajectoryEvent,
)
from atlas.traces.jsonl import JsonlTraceStore, write_jsonl
from atlas.traces.postgres.connection import connect
from atlas.traces.postgres.reading import PostgresTraceStore
from atlas.traces.postgres.writing import write_sessions
from atlas.traces.store import SessionQuery

ALL = SessionQuery()
PARTS = ["plans", "step_results", "step_attempts", "guidance_notes", "trajectory_events"]
START = datetime(2025, 1, 1, tzinfo=UTC)


def numbers(sessions) -> list[int]:
    return [session.metadata["number"] for session in sessions]


@given(data=st.data())
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_database_to_session_to_jsonl_is_the_identity(
    data, storable_sessions, fresh_db_url, tmp_path
):
    sessions = data.draw(st.lists(storable_sessions, min_size=1, max_size=3))
    store = PostgresTraceStore(fresh_db_url)
    ids = write_sessions(fresh_db_url, sessions)

    from_database = [store.get(session_id) for session_id in ids]
    assert from_database == sessions
    write_jsonl(tmp_path / "t.jsonl", from_database)
    assert list(JsonlTraceStore(tmp_path / "t.jsonl").sessions(ALL)) == sessions


@pytest.fixture
def varied_db_url(fresh_db_url, make_session) -> str:
    """Eight sessions, two statuses, scores of every kind, one hour apart."""
    rewards = [
        {"reward": SessionReward(score=0.2)},
        {"reward": SessionReward(score=0.8)},
        {"reward": SessionReward(score=1)},
        {"reward": None, "reward_stats": {"score": 0.9}},
        {"reward": None},
        {"reward": SessionReward(extra={"score": "0.9"}), "reward_stats": {"score": "high"}},
        {"reward": SessionReward(score=0.3), "reward_stats": {"score": 0.9}},
        {"reward": SessionReward(score=None), "reward_stats": {"score": 0.8}},
    ]
    sessions = [
        make_session(
            number,
            status="succeeded" if number % 3 else "failed",
            review_status="approved" if number % 2 else "pending",
            learning_key=f"key {number % 4}",
            created_at=START + timedelta(hours=number),
            **reward,
        )
        for number, reward in enumerate(rewards)
    ]
    write_sessions(fresh_db_url, sessions)
    return fresh_db_url


@pytest.mark.parametrize(
    "query",
    [
        ALL,
        SessionQuery(min_reward=0.8),
        SessionQuery(min_reward=0.0),
        SessionQuery(max_reward=0.8),
        SessionQuery(min_reward=0.3, max_reward=0.85),
        SessionQuery(status_filters=["succeeded"], review_status_filters=["pending"]),
        SessionQuery(learning_key="key 1"),
        SessionQuery(created_after=START + timedelta(hours=5)),
        SessionQuery(start_date=START + timedelta(hours=1), end_date=START + timedelta(hours=2)),
        SessionQuery(end_date=date(2024, 12, 31)),
        SessionQuery(min_reward=0.8, status_filters=["succeeded"]),
    ],
)
def test_the_database_filters_as_the_query_says(query, varied_db_url):
    store = PostgresTraceStore(varied_db_url)
    passing = [session for session in store.sessions(ALL) if query.matches(session)]

    assert list(store.sessions(query)) == passing
    assert store.count(query) == len(passing)


def test_a_reward_bound_keeps_exactly_the_scores_within_it(varied_db_url):
    store = PostgresTraceStore(varied_db_url)

    assert numbers(store.sessions(SessionQuery(min_reward=0.8))) == [7, 3, 2, 1]


def test_a_bound_counts_to_the_last_digit(fresh_db_url, make_session):
    above = 0.1 + 0.2
    rewards = [SessionReward(score=0.3), SessionReward(score=above)]
    write_sessions(fresh_db_url, [make_session(n, reward=r) for n, r in enumerate(rewards)])
    store = PostgresTraceStore(fresh_db_url)

    assert numbers(store.sessions(SessionQuery(min_reward=above))) == [1]
    assert numbers(store.sessions(SessionQuery(max_reward=0.3))) == [0]
    assert store.count(SessionQuery(min_reward=2**70, max_reward=2**70)) == 0


def test_a_number_is_no_learning_key(fresh_db_url):
    number = Session(task="t", metadata={"learning_key": 5})
    write_sessions(fresh_db_url, [number, Session(task="t", learning_key="5")])

    [found] = PostgresTraceStore(fresh_db_url).sessions(SessionQuery(learning_key="5"))
    assert found.learning_key == "5"


def test_pages_come_newest_first_without_gap_or_repetition_at_equal_times(
    fresh_db_url, make_session
):
    # Sessions of one transaction share their time; only the id keeps them apart.
    times = [START, START, START, START + timedelta(1), START + timedelta(1), START]
    write_sessions(fresh_db_url, [make_session(n, created_at=time) for n, time in enumerate(times)])
    store = PostgresTraceStore(fresh_db_url, page_size=2)

    pages = [numbers(page) for page in store.pages(ALL)]
    assert pages == [[4, 3], [5, 2], [1, 0]]
    assert numbers(store.sessions(SessionQuery(offset=1, limit=3))) == [3, 5, 2]
    assert numbers(store.sessions(SessionQuery(limit=0))) == []


def test_what_is_recorded_meanwhile_moves_no_page(fresh_db_url, make_session):
    write_sessions(fresh_db_url, [make_session(n) for n in range(4)])
    pages = PostgresTraceStore(fresh_db_url, page_size=2).pages(ALL)

    first = numbers(next(pages))
    write_sessions(fresh_db_url, [make_session(9, created_at=START + timedelta(days=9))])
    assert [first, *map(numbers, pages)] == [[3, 2], [1, 0]]


def test_a_page_costs_the_same_number_of_statements_for_any_number_of_sessions(
    fresh_db_url, make_session, monkeypatch
):
    write_sessions(fresh_db_url, [make_session(n, num_events=5) for n in range(40)])
    statements: list[str] = []
    execute = psycopg.Cursor.execute

    def counting(self, query, *args, **kwargs):
        statements.append(str(query))
        return execute(self, query, *args, **kwargs)

    monkeypatch.setattr(psycopg.Cursor, "execute", counting)

    def cost(query: SessionQuery, page_size: int) -> Counter[str]:
        """Return how often each table was read."""
        statements.clear()
        list(PostgresTraceStore(fresh_db_url, page_size=page_size).pages(query))
        tables = [line.split(" FROM ")[1].split()[0] for line in statements if " FROM " in line]
        return Counter(tables)

    of_one = cost(SessionQuery(limit=1), 100)
    assert of_one == {
        "pg_catalog.pg_class": 1,  # whether the tables of an embedded server are plain ones
        "pg_attribute": 1,  # what columns there are
        "pg_index": 1,
        "sessions": 2,  # one to list them, one to read them
        **dict.fromkeys(PARTS, 1),
    }
    assert cost(SessionQuery(limit=39), 100) == of_one
    four_pages = of_one + Counter(dict.fromkeys(["sessions", *PARTS], 3))
    assert cost(SessionQuery(limit=40), 10) == four_pages


def test_what_a_query_leaves_out_is_missing_and_not_read(fresh_db_url, make_session):
    session = make_session(
        student_learning="s", teacher_learning="t", learning_history={"n": 1}, learning_key="k"
    )
    [session_id] = write_sessions(fresh_db_url, [session])
    query = SessionQuery(include_trajectory_events=False, include_learning_data=False)
    store = PostgresTraceStore(fresh_db_url)

    [found] = store.sessions(query)
    assert found == query.trimmed(session)
    assert found.trajectory_events is MISSING
    assert found == store.get(
        session_id, include_trajectory_events=False, include_learning_data=False
    )


def test_guidance_without_a_result_is_a_step_without_result(fresh_db_url, make_session):
    lost = Step(
        id=2,
        has_result=False,
        trace=None,
        output=None,
        metadata=None,
        guidance=(GuidanceNote(note="Too late."),),
    )
    session = make_session(plan=None, steps=(Step(id=1), lost))
    [session_id] = write_sessions(fresh_db_url, [session])

    found = PostgresTraceStore(fresh_db_url).get(session_id)
    assert found is not None
    assert found.steps[1] == lost


SCORES = st.sampled_from([-1, 0, 1, 0.3, 0.1 + 0.2, 0.8, 0.8 + 1e-16, 1e-310, 2**70, 1e300])
KEYS = st.sampled_from(["a", "b", "%", "'"])
DAYS = st.sampled_from([START + timedelta(hours=hours) for hours in (0, 1, 23, 24, 25, 48)])
FILTERED = st.builds(
    Session,
    task=st.just("t"),
    status=st.sampled_from([None, "succeeded", "failed"]),
    review_status=st.sampled_from([None, "pending", "approved"]),
    created_at=DAYS,
    reward=st.none()
    | st.builds(SessionReward, score=st.just(MISSING) | st.none() | SCORES)
    | st.builds(SessionReward, extra=st.sampled_from([{"score": "0.8"}, {"score": True}])),
    reward_stats=st.none() | st.builds(lambda score: {"score": score}, SCORES | st.just("1")),
    learning_key=st.just(MISSING) | st.none() | KEYS,
    learning_history=st.just({"n": 1}),
    student_learning=st.just("s"),
    trajectory_events=st.just((TrajectoryEvent(event={}, created_at=START),)),
) | st.builds(Session, task=st.just("t"), created_at=DAYS, metadata=st.just({"learning_key": 5}))
QUERIES = st.builds(
    SessionQuery,
    min_reward=st.none() | SCORES,
    max_reward=st.none() | SCORES,
    status_filters=st.none() | st.just(["succeeded"]) | st.just(["failed", "running"]),
    review_status_filters=st.none() | st.just(["approved", "pending"]),
    learning_key=st.none() | KEYS | st.just("5"),
    created_after=st.none() | DAYS,
    start_date=st.none() | DAYS.map(datetime.date),
    end_date=st.none() | DAYS | DAYS.map(datetime.date),
    limit=st.none() | st.integers(0, 8),
    offset=st.just(0) | st.integers(0, 8),
    include_trajectory_events=st.booleans(),
    include_learning_data=st.booleans(),
)


@given(
    sessions=st.lists(FILTERED, min_size=1, max_size=12),
    queries=st.lists(QUERIES, min_size=2, max_size=5),
)
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.generate],
)
def test_database_and_file_give_what_the_query_says(sessions, queries, fresh_db_url, tmp_path):
    with psycopg.connect(fresh_db_url) as connection:
        connection.execute("TRUNCATE sessions CASCADE")
    write_sessions(fresh_db_url, sessions)
    database = PostgresTraceStore(fresh_db_url, page_size=4)
    newest_first = list(database.sessions(ALL))
    write_jsonl(tmp_path / "t.jsonl", newest_first)
    file = JsonlTraceStore(tmp_path / "t.jsonl", page_size=2)

    for query in queries:
        passing = [query.trimmed(found) for found in newest_first if query.matches(found)]
        end = None if query.limit is None else query.offset + query.limit
        expected = passing[query.offset : end]
        assert list(database.sessions(query)) == expected
        assert list(file.sessions(query)) == expected
        assert database.count(query) == file.count(query) == len(passing)


@pytest.mark.parametrize("text", ["nul \x00", "half \ud800"])
def test_text_that_the_database_cannot_hold_is_an_error_in_a_filter(text, fresh_db_url):
    with pytest.raises(AtlasError, match="PostgreSQL database postgres on"):
        PostgresTraceStore(fresh_db_url).count(SessionQuery(learning_key=text))


SDK_STYLE_TABLES = """
    CREATE TABLE sessions (id SERIAL PRIMARY KEY, task TEXT NOT NULL, status TEXT,
        review_status TEXT, review_notes TEXT, metadata JSONB, final_answer TEXT, reward JSONB,
        reward_stats JSONB, reward_audit JSONB, student_learning TEXT, teacher_learning TEXT,
        created_at TIMESTAMP, completed_at TIMESTAMP, a_later_column TEXT);
    CREATE TABLE plans (session_id INT PRIMARY KEY, plan JSONB NOT NULL);
    CREATE TABLE step_results (session_id INT, step_id INT, trace TEXT, output TEXT,
        evaluation JSONB, attempts INT, metadata JSONB, UNIQUE (session_id, step_id));
    CREATE TABLE step_attempts (session_id INT, step_id INT, attempt INT, evaluation JSONB);
    CREATE TABLE guidance_notes (session_id INT, step_id INT, sequence INT, note TEXT);
    CREATE TABLE trajectory_events (id SERIAL, session_id INT, event JSONB, created_at TIMESTAMP);
"""


def test_tables_with_other_types_and_without_indexes_are_read_and_written(
    empty_db_url, make_session
):
    with psycopg.connect(empty_db_url, autocommit=True) as connection:
        connection.execute(SDK_STYLE_TABLES)
        connection.execute(
            "INSERT INTO sessions (task, metadata) VALUES ('no time', '{\"number\": 7}'),"
            " ('nor here', '{\"number\": 8}'), ('nor there', '{\"number\": 9}')"
        )
    sessions = [make_session(n, created_at=START + timedelta(hours=n)) for n in range(3)]
    write_sessions(empty_db_url, sessions)
    store = PostgresTraceStore(empty_db_url, page_size=2)

    found = list(store.sessions(ALL))
    assert numbers(found) == [9, 8, 7, 2, 1, 0]
    assert found[0].created_at is None
    assert found[0].plan is None
    assert found[3].created_at == START + timedelta(hours=2)
    assert numbers(store.sessions(SessionQuery(start_date=START + timedelta(hours=1)))) == [2, 1]


def test_what_json_and_time_hold_and_python_does_not_stays_text(fresh_db_url):
    deep = "[" * 300 + "]" * 300
    with connect(fresh_db_url) as connection:
        for created_at in ("infinity", "-infinity", "0044-03-15 BC", "2025-01-01"):
            connection.execute(
                "INSERT INTO sessions (task, status, created_at, metadata, reward)"
                " VALUES ('t', 'succeeded', %s, %s::jsonb, %s::jsonb)",
                [created_at, '{"n": ' + "7" * 5000 + ', "d": ' + deep + "}", '{"score": 7e400}'],
            )
        connection.execute(
            "INSERT INTO trajectory_events (session_id, event, created_at)"
            " SELECT id, ('{\"n\": ' || repeat('7', 5000) || '}')::jsonb, 'infinity' FROM sessions"
        )
    store = PostgresTraceStore(fresh_db_url, page_size=1)
    sessions = list(store.sessions(SessionQuery()))

    assert [session.id for session in sessions] == [1, 4, 3, 2]  # each once, newest first
    assert [bool(session.created_at) for session in sessions] == [False, True, False, False]
    assert sessions[0].trajectory_events[0].event == {"n": "7" * 5000}
    assert sessions[0].trajectory_events[0].created_at is None
    assert all(deep in str(session) for session in sessions)
