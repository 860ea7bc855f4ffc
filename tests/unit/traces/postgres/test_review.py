from __future__ import annotations

import psycopg
import pytest

from atlas.errors import AtlasError
from atlas.traces.postgres.reading import PostgresTraceStore
from atlas.traces.postgres.review import review_statuses, set_review_status
from atlas.traces.postgres.writing import write_sessions
from atlas.traces.store import SessionQuery

ALL = SessionQuery()


@pytest.fixture
def ids(fresh_db_url, make_session) -> list[int]:
    """Three pending sessions, the last with notes."""
    return write_sessions(
        fresh_db_url,
        [make_session(0), make_session(1), make_session(2, review_notes="from before")],
    )


def reviews(db_url: str) -> list[tuple[str | None, str | None]]:
    sessions = reversed(list(PostgresTraceStore(db_url).sessions(ALL)))
    return [(session.review_status, session.review_notes) for session in sessions]


def test_the_named_sessions_change_and_every_reader_sees_it(fresh_db_url, ids):
    changed = set_review_status(fresh_db_url, [ids[2], ids[0], ids[0]], "approved", "clean")

    assert changed == [ids[0], ids[2]]
    assert reviews(fresh_db_url) == [
        ("approved", "clean"),
        ("pending", None),
        ("approved", "clean"),
    ]
    approved = SessionQuery(review_status_filters=["approved"])
    assert PostgresTraceStore(fresh_db_url).count(approved) == 2


def test_without_notes_the_notes_stay_and_what_is_so_already_is_not_counted(fresh_db_url, ids):
    assert set_review_status(fresh_db_url, ids[2:], "quarantined") == ids[2:]
    assert reviews(fresh_db_url)[2] == ("quarantined", "from before")

    assert set_review_status(fresh_db_url, ids[1:], "quarantined") == [ids[1]]
    assert set_review_status(fresh_db_url, ids[2:], "quarantined", "leak") == [ids[2]]
    assert set_review_status(fresh_db_url, ids[2:], "quarantined", "leak") == []
    assert set_review_status(fresh_db_url, [], "approved") == []


def test_an_unknown_id_is_named_and_nothing_changes(fresh_db_url, ids):
    unknown = [-5, *range(10**18, 10**18 + 13)]

    with pytest.raises(AtlasError, match=r"has no session -5, 10\d{17}, .* and 4 more: nothing"):
        set_review_status(fresh_db_url, [*ids, *unknown], "approved")
    assert reviews(fresh_db_url)[0] == ("pending", None)


def test_text_that_looks_like_sql_is_only_a_note(fresh_db_url, ids):
    text = "'; DROP TABLE sessions; -- %s %(x)s"
    set_review_status(fresh_db_url, ids[:1], "approved", text)

    assert [notes for _, notes in reviews(fresh_db_url)] == [text, None, "from before"]
    with pytest.raises(ValueError, match="give one of pending, approved, quarantined"):
        set_review_status(fresh_db_url, ids, text)  # pyright: ignore[reportArgumentType]


def test_a_database_without_the_column_is_named(empty_db_url):
    with psycopg.connect(empty_db_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE sessions (id INT)")
        connection.execute("INSERT INTO sessions VALUES (1)")

    with pytest.raises(AtlasError, match='column "review_status" does not exist'):
        set_review_status(empty_db_url, [1], "approved")


def test_statuses_of_sessions_that_are_there(fresh_db_url, ids):
    set_review_status(fresh_db_url, ids[1:2], "quarantined")

    asked = [ids[1], ids[0], ids[1], 10**18]
    assert review_statuses(fresh_db_url, asked) == {ids[0]: "pending", ids[1]: "quarantined"}
    assert review_statuses(fresh_db_url, []) == {}
