"""From PostgreSQL to a JSONL file and back, and what is said of the way."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atlas.errors import AtlasError
from atlas.run.progress import Silent
from atlas.run.stopping import Stopped, StopRequest
from atlas.session import SessionReward
from atlas.traces.export import export_sessions, left_out
from atlas.traces.jsonl import JsonlTraceStore
from atlas.traces.postgres.reading import PostgresTraceStore
from atlas.traces.postgres.writing import write_sessions
from atlas.traces.store import SessionQuery

ALL = SessionQuery()


class Units(Silent):
    """Counts what it is told."""

    done = 0

    def advance(self, units: int = 1, note: str = "") -> None:
        self.done += units


def export(sessions, path):
    return export_sessions(sessions, path, progress=Silent(), stop=StopRequest())


@given(data=st.data())
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_database_comes_back_from_the_file_field_by_field(
    data, storable_sessions, empty_db_url, tmp_path
):
    write_sessions(empty_db_url, data.draw(st.lists(storable_sessions, min_size=1, max_size=3)))
    stored = list(PostgresTraceStore(empty_db_url, page_size=2).sessions(ALL))
    export(stored, tmp_path / "t.jsonl.gz")

    again = list(JsonlTraceStore(tmp_path / "t.jsonl.gz").sessions(ALL))
    assert len(again) == len(stored)
    for field in fields(stored[0]):
        assert [getattr(s, field.name) for s in again] == [getattr(s, field.name) for s in stored]


def test_counts_are_those_of_the_file(make_session, tmp_path):
    path, units = tmp_path / "t.jsonl", Units()
    sessions = [
        make_session(0, status="succeeded", review_status="approved"),
        make_session(1, status="failed", review_status="approved"),
        make_session(2, status="failed", review_status=None),
    ]
    exported = export_sessions(sessions, path, progress=units, stop=StopRequest())
    assert dict(exported.by_status) == {"succeeded": 1, "failed": 2}
    assert dict(exported.by_review_status) == {"approved": 2, "none": 1}
    assert (exported.num_sessions, units.done, exported.replaced) == (3, 3, False)
    assert exported.num_bytes == len(path.read_bytes())
    assert export(sessions[:1], path).replaced


def test_no_session_makes_no_file_and_replaces_none(make_session, tmp_path):
    path = tmp_path / "t.jsonl"
    with pytest.raises(AtlasError, match=r"t\.jsonl was not written"):
        export([], path)
    assert not list(tmp_path.iterdir())
    export([make_session(0)], path)
    before = path.read_bytes()
    with pytest.raises(AtlasError):
        export([], path)
    assert path.read_bytes() == before


def test_stopping_in_the_middle_leaves_nothing_behind(make_session, tmp_path):
    stop = StopRequest()

    def sessions():
        yield make_session(0)
        stop.asked = True
        yield make_session(1)

    with pytest.raises(Stopped):
        export_sessions(sessions(), tmp_path / "t.jsonl", progress=Silent(), stop=stop)
    assert not list(tmp_path.iterdir())


def test_each_filter_answers_for_what_it_takes_from_those_before(fresh_db_url, make_session):
    sessions = [
        make_session(n, status=status, reward=None if score is None else SessionReward(score=score))
        for n, (status, score) in enumerate(
            [("succeeded", 1.0), ("succeeded", 0.5), ("succeeded", None), ("failed", 0.0)]
        )
    ]
    write_sessions(fresh_db_url, sessions)
    store = PostgresTraceStore(fresh_db_url)
    query = SessionQuery(status_filters=["succeeded"], min_reward=0.8)
    assert left_out(store, query) == {"status_filters": 1, "min_reward": 2}
    assert left_out(store, SessionQuery(min_reward=0.0)) == {"min_reward": 1}
    assert left_out(store, SessionQuery(learning_key="other", max_reward=0)) == {"learning_key": 4}
    assert left_out(store, SessionQuery(limit=1, review_status_filters=["pending"])) == {}
