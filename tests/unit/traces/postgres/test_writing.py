from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from atlas.errors import AtlasError
from atlas.session import GuidanceNote, Plan, Session, SessionReward, Step, TrajectoryEvent
from atlas.traces.postgres.connection import connect
from atlas.traces.postgres.reading import PostgresTraceStore
from atlas.traces.postgres.writing import ensure_schema, write_sessions
from atlas.traces.store import SessionQuery

ALL = SessionQuery()


def query(db_url: str, statement: str) -> list[tuple]:
    with psycopg.connect(db_url) as connection:
        return connection.execute(statement).fetchall()


def test_one_call_makes_the_tables_and_writes_from_a_generator(empty_db_url, make_session):
    def recorded() -> Iterator[Session]:
        for number in range(501):  # one more than a batch
            yield make_session(number, num_events=0)

    ids = write_sessions(empty_db_url, recorded())

    found = [PostgresTraceStore(empty_db_url).get(ids[place]) for place in (0, 499, 500)]
    assert [session and session.metadata["number"] for session in found] == [0, 499, 500]
    assert len(set(ids)) == 501


def test_the_sdk_finds_what_it_filters_and_plans_by(fresh_db_url):
    session = Session(
        task="t", reward=SessionReward(score=0.75), steps=(Step(id=1, description="Do."),)
    )
    write_sessions(fresh_db_url, [session])

    assert query(fresh_db_url, "SELECT (reward_stats ->> 'score')::float FROM sessions") == [
        (0.75,)
    ]
    assert query(fresh_db_url, "SELECT plan FROM plans") == [
        ({"steps": [{"id": 1, "description": "Do."}]},)
    ]


@pytest.mark.parametrize("number", [1e23, 1.7976931348623157e308, 5e-324, -1.5e16, 2**70, 1.0])
def test_numbers_come_back_as_they_were(number, fresh_db_url):
    session = Session(task="t", metadata={"n": number, "text": '1e+23 in \\"text\\" stays 1e+23'})
    write_sessions(fresh_db_url, [session])

    [found] = PostgresTraceStore(fresh_db_url).sessions(ALL)
    assert found.metadata == session.metadata
    assert type(found.metadata["n"]) is type(number)


UNSTORABLE = [
    ({"task": "a\x00b"}, "task"),
    ({"final_answer": "half \ud83d"}, "final_answer"),
    ({"metadata": {"k\x00": "v"}}, "session_metadata"),
    ({"plan": Plan(extra={"x": "\udc00"}), "steps": ()}, "plan"),
    ({"steps": (Step(id=4, output="\x00"),)}, "step 4, output"),
    ({"steps": (Step(id=4, guidance=(GuidanceNote(note="\x00"),)),)}, "step 4, guidance"),
    ({"trajectory_events": (TrajectoryEvent(event="\x00"),)}, r"trajectory_events\[0\]"),
]


@pytest.mark.parametrize(("fields", "field"), UNSTORABLE)
def test_text_that_postgres_cannot_hold_is_refused_by_its_place(
    fields, field, fresh_db_url, make_session
):
    with pytest.raises(AtlasError, match=rf"session 1, {field} holds U\+0000 or half"):
        write_sessions(fresh_db_url, [make_session(0), make_session(1, **fields)])
    # All or none: the good session before it is not there either.
    assert PostgresTraceStore(fresh_db_url).count(ALL) == 0


@pytest.mark.parametrize(("fields", "field"), UNSTORABLE)
def test_text_that_postgres_cannot_hold_is_replaced_when_told_so(
    fields, field, fresh_db_url, make_session
):
    [session_id] = write_sessions(fresh_db_url, [make_session(**fields)], unstorable="replace")

    found = PostgresTraceStore(fresh_db_url).get(session_id)
    assert "\ufffd" in repr(found)


def test_a_written_out_escape_is_no_unstorable_text(fresh_db_url):
    metadata = {"path": "C:\\u0000", "twice": "\\\\u0000"}
    write_sessions(fresh_db_url, [Session(task="t", metadata=metadata)])

    assert next(PostgresTraceStore(fresh_db_url).sessions(ALL)).metadata == metadata


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"metadata": {"x": float("nan")}}, "session 0, session_metadata is no JSON"),
        ({"metadata": {"x": object()}}, "session 0, session_metadata is no JSON"),
        ({"steps": (Step(id=3), Step(id=3))}, "session 0 has two steps with the id 3"),
    ],
)
def test_a_session_that_cannot_be_stored_is_refused(fields, reason, fresh_db_url, make_session):
    with pytest.raises(AtlasError, match=reason):
        write_sessions(fresh_db_url, [make_session(**fields)])


def test_an_open_transaction_stays_in_its_owners_hands(fresh_db_url, make_session):
    with psycopg.connect(fresh_db_url) as connection:
        connection.execute("SELECT 1")
        write_sessions(connection, [make_session(1)])
        connection.rollback()
    assert PostgresTraceStore(fresh_db_url).count(ALL) == 0


def test_an_existing_database_is_left_unchanged(empty_db_url):
    with psycopg.connect(empty_db_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE sessions (id INT)")
    ensure_schema(empty_db_url)

    tables = "SELECT relname FROM pg_class WHERE relnamespace::regnamespace::text = current_schema"
    assert query(empty_db_url, tables) == [("sessions",)]


def test_the_sdks_tables_are_written_and_keep_their_indexes(sdk_db_url, make_session):
    indexes = "SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema ORDER BY indexname"
    columns = (
        "SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod)"
        " FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid"
        " WHERE relnamespace::regnamespace::text = current_schema ORDER BY 1, 2"
    )
    before = query(sdk_db_url, indexes), query(sdk_db_url, columns)

    write_sessions(sdk_db_url, [make_session()])
    assert PostgresTraceStore(sdk_db_url).count(ALL) == 1
    assert (query(sdk_db_url, indexes), query(sdk_db_url, columns)) == before
    assert not any("trajectory_events USING btree (session_id" in row[0] for row in before[0])


def test_a_database_without_the_tables_columns_is_named(empty_db_url, make_session):
    with psycopg.connect(empty_db_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE sessions (id INT)")

    with pytest.raises(AtlasError, match='column "task" of relation "sessions" does not exist'):
        write_sessions(empty_db_url, [make_session()])


def test_making_the_tables_twice_and_at_once_is_fine(empty_db_url):
    first, second = connect(empty_db_url), connect(empty_db_url)
    try:
        ensure_schema(first)
        ensure_schema(second)
    finally:
        first.close()
        second.close()
    assert PostgresTraceStore(empty_db_url).count(ALL) == 0


def test_an_index_leads_to_the_events_of_a_session(fresh_db_url):
    found = query(
        fresh_db_url,
        "SELECT indexdef FROM pg_indexes"
        " WHERE tablename = 'trajectory_events' AND schemaname = current_schema",
    )
    assert any("(session_id, id)" in definition for (definition,) in found)
