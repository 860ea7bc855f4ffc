"""Places that sessions are recorded in: whole chunks, found again."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas.traces.collection import Collection, JsonlCollection, PostgresCollection
from atlas.traces.jsonl import JsonlTraceStore
from atlas.traces.store import SessionQuery
from atlas.types import task_id


@pytest.fixture(params=["postgres", "jsonl"])
def collections(request, empty_db_url, tmp_path) -> tuple[Collection, Collection]:
    """Two in one place, under different learning keys."""
    if request.param == "postgres":
        return PostgresCollection(empty_db_url, "mine"), PostgresCollection(empty_db_url, "yours")
    return JsonlCollection(tmp_path, "mine"), JsonlCollection(tmp_path, "yours")


def test_each_learning_key_knows_its_own_sessions(collections, make_session) -> None:
    mine, yours = collections
    assert (mine.recorded(), dict(mine.by_status())) == (set(), {})
    mine.add([make_session(0, task="a", learning_key="mine", status="failed")])
    yours.add([make_session(1, task="b", learning_key="yours", status="succeeded")])
    mine.add([make_session(2, task=t, learning_key="mine", status="succeeded") for t in "cd"])
    assert mine.recorded() == {task_id(task) for task in "acd"}
    assert dict(mine.by_status()) == {"failed": 1, "succeeded": 2}
    assert yours.recorded() == {task_id("b")}
    assert dict(yours.by_status()) == {"succeeded": 1}


def test_the_place_of_a_database_has_no_password() -> None:
    class Unopened(PostgresCollection):
        def __init__(self) -> None:
            self._db_url = "postgresql://u:secret@h:5/d"

    assert Unopened().place == "PostgreSQL database d on h:5"


def test_files_are_joined_in_the_order_of_recording(tmp_path: Path, make_session) -> None:
    mine, yours = JsonlCollection(tmp_path / "s", "k"), JsonlCollection(tmp_path / "s", "other")
    for number in (11, 3, 7):
        mine.add([make_session(number, task=str(number), learning_key="k")])
        yours.add([make_session(0, task="not mine", learning_key="other")])
    assert mine.publish(tmp_path / "all.jsonl.gz") == 3
    joined = JsonlTraceStore(tmp_path / "all.jsonl.gz").sessions(SessionQuery())
    assert [session.task for session in joined] == ["11", "3", "7"]
