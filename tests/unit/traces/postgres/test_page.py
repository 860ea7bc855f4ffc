from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import replace

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from atlas.errors import AtlasError
from atlas.session import MISSING, Session, Step, TrajectoryEvent
from atlas.traces.jsonl import JsonlTraceStore, write_jsonl
from atlas.traces.postgres.reading import PostgresTraceStore
from atlas.traces.postgres.writing import write_sessions
from atlas.traces.store import SessionQuery

ALL = SessionQuery()


def execute(db_url: str, statement: str) -> None:
    with psycopg.connect(db_url, autocommit=True) as connection:
        connection.execute(statement)


@pytest.fixture
def wider_db_url(sdk_db_url: str) -> str:
    """The SDK's tables as a later version, or somebody else, may have added to them."""
    execute(
        sdk_db_url,
        "ALTER TABLE sessions ADD tenant TEXT, ADD cost NUMERIC, ADD seen TIMESTAMPTZ;"
        "ALTER TABLE step_results ADD tool_calls JSONB;"
        "ALTER TABLE plans ADD author TEXT; ALTER TABLE trajectory_events ADD actor TEXT;",
    )
    return sdk_db_url


def test_columns_that_the_schema_does_not_have_are_kept_in_extra(
    wider_db_url, make_session, tmp_path
):
    with_learning = make_session(student_learning="s", learning_history={"n": 1})
    [first, second] = write_sessions(wider_db_url, [with_learning, make_session(1)])
    execute(
        wider_db_url,
        f"UPDATE sessions SET tenant = 'a', cost = 2, seen = '2025-02-03Z' WHERE id = {first};"
        "UPDATE step_results SET tool_calls = '[{\"n\": null}]'"
        f" WHERE session_id = {first}",
    )
    store = PostgresTraceStore(wider_db_url)

    newest, oldest = store.sessions(ALL)
    assert oldest.extra == {"tenant": "a", "cost": 2, "seen": "2025-02-03T00:00:00+00:00"}
    assert oldest.steps[0].extra == {"tool_calls": [{"n": None}]}
    # A null in such a column says nothing about the session.
    assert newest == make_session(1)
    assert store.get(second) == newest
    [_, trimmed] = store.sessions(SessionQuery(include_learning_data=False))
    assert trimmed.extra == oldest.extra
    write_jsonl(tmp_path / "t.jsonl", [oldest])
    assert list(JsonlTraceStore(tmp_path / "t.jsonl").sessions(ALL)) == [oldest]
    [copy] = write_sessions(wider_db_url, [oldest])
    assert store.get(copy) == oldest


def test_sessions_of_the_sdk_that_hold_little_are_read(sdk_db_url):
    execute(
        sdk_db_url,
        "INSERT INTO sessions (task) VALUES ('begun');"
        'INSERT INTO plans VALUES (1, \'{"steps": [{"id": 1, "description": "Go."}]}\');'
        "INSERT INTO guidance_notes VALUES (1, 1, 1, 'Slowly.');"
        "INSERT INTO step_attempts VALUES (1, 2, 1, NULL);"
        "INSERT INTO trajectory_events (session_id, event) VALUES (NULL, '{}')",
    )

    [session] = PostgresTraceStore(sdk_db_url).sessions(ALL)
    assert (session.status, session.review_status) == ("running", "pending")
    assert session.metadata is None
    assert [(step.id, step.has_result, step.description) for step in session.steps] == [
        (1, False, "Go."),
        (2, False, MISSING),
    ]
    assert session.trajectory_events == ()


@given(data=st.data())
@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.generate],
)
def test_the_sdks_tables_hold_every_session_that_has_a_status(data, storable_sessions, sdk_db_url):
    drawn = data.draw(st.lists(storable_sessions, min_size=1, max_size=3))
    sessions = [replace(session, status=session.status or "running") for session in drawn]
    ids = write_sessions(sdk_db_url, sessions)

    store = PostgresTraceStore(sdk_db_url)
    assert [store.get(session_id) for session_id in ids] == sessions


def test_the_sdks_tables_hold_an_event_that_is_null(sdk_db_url, make_session):
    session = make_session(trajectory_events=(TrajectoryEvent(event=None),))
    [session_id] = write_sessions(sdk_db_url, [session])

    found = PostgresTraceStore(sdk_db_url).get(session_id)
    assert [event.event for event in found.trajectory_events] == [None]


def test_a_session_with_two_steps_of_one_id_is_in_a_file_and_in_no_database(
    sdk_db_url, make_session, tmp_path
):
    twice = make_session(steps=(Step(id=1, output="a"), Step(id=1, output="b")))
    write_jsonl(tmp_path / "t.jsonl", [twice])

    assert list(JsonlTraceStore(tmp_path / "t.jsonl").sessions(ALL)) == [twice]
    with pytest.raises(AtlasError, match="session 0 has two steps with the id 1"):
        write_sessions(sdk_db_url, [twice])
    once = replace(twice, steps=twice.steps[:1])
    [session_id] = write_sessions(sdk_db_url, [once])
    assert PostgresTraceStore(sdk_db_url).get(session_id) == once


@pytest.fixture
def young_objects() -> Iterator[Callable[[], list[object]]]:
    """A function that returns all objects that came after the test began."""
    gc.collect()
    gc.freeze()
    yield gc.get_objects
    gc.unfreeze()


@pytest.mark.parametrize("kind", ["database", "file"])
def test_one_page_is_in_memory_and_no_more(
    kind, fresh_db_url, make_session, tmp_path, monkeypatch, young_objects
):
    write_sessions(fresh_db_url, [make_session(n) for n in range(40)])
    write_jsonl(tmp_path / "t.jsonl", [make_session(n) for n in range(40)])
    alive: list[int] = []

    def counting(self: Session) -> None:
        derive(self)
        alive.append(sum(type(item) is Session for item in young_objects()))

    derive = Session.__post_init__
    monkeypatch.setattr(Session, "__post_init__", counting)
    store = (
        PostgresTraceStore(fresh_db_url, page_size=10)
        if kind == "database"
        else JsonlTraceStore(tmp_path / "t.jsonl", page_size=10)
    )
    pages = store.pages(ALL)
    while len(next(pages, [])) == 10:
        pass
    assert len(alive) == 40
    assert max(alive) == 10


def test_the_collector_is_left_as_it_was(fresh_db_url, make_session):
    write_sessions(fresh_db_url, [make_session()])
    store = PostgresTraceStore(fresh_db_url)

    list(store.sessions(ALL))
    assert gc.isenabled()
    gc.disable()
    try:
        list(store.sessions(ALL))
        assert not gc.isenabled()
    finally:
        gc.enable()
