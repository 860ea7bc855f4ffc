from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.errors import AtlasError
from atlas.session import MISSING, Session
from atlas.traces.codec import session_from_record, session_to_record
from atlas.traces.codec_fields import MisshapenError


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_session_comes_back_from_its_record_equal(data, any_sessions):
    session = data.draw(any_sessions)

    assert session_from_record(json.loads(json.dumps(session_to_record(session)))) == session


def test_null_and_missing_are_told_apart_both_ways():
    record = {
        "task": "t",
        "session_metadata": {"adaptive_summary": {"confidence": None}, "drift": None},
        "session_reward": {"score": None},
    }
    session = session_from_record(record)

    assert session.drift is None
    assert session.triage_dossier is MISSING
    assert session.adaptive_summary.confidence is None
    assert session.adaptive_summary.lane is MISSING
    assert session.reward.score is None
    assert session.reward.judges is MISSING
    again = session_to_record(session)
    assert again["session_metadata"] == record["session_metadata"]
    assert again["session_reward"] == record["session_reward"]


def test_unknown_fields_are_kept_at_every_level():
    record = {
        "task": "t",
        "from_the_future": [1],
        "plan": {"steps": [{"id": 1, "cost": 3}], "budget": 9},
        "steps": [{"step_id": 1, "colour": "red", "evaluation": {"mood": "good"}}],
        "session_reward": {"score": 1, "judges": [{"identifier": "a", "model": "m"}], "v": 2},
        "session_metadata": {"adaptive_summary": {"why": "because"}, "family": "f"},
    }
    session = session_from_record(record)

    assert session.extra == {"from_the_future": [1]}
    assert session.plan.extra == {"budget": 9}
    assert session.plan.steps[0].extra == {"cost": 3}
    assert session.steps[0].extra == {"colour": "red"}
    assert session.steps[0].evaluation.extra == {"mood": "good"}
    assert session.reward.extra == {"v": 2}
    assert session.reward.judges[0].extra == {"model": "m"}
    assert session.adaptive_summary.extra == {"why": "because"}
    assert session.metadata == {"family": "f"}
    assert session_from_record(session_to_record(session)) == session


def test_a_field_of_unexpected_shape_is_kept_under_its_name():
    record = {
        "task": "t",
        "status": 5,
        "plan": "think, then act",
        "session_metadata": ["no", "object"],
        "session_reward": {"score": "high", "judges": [1]},
        "steps": [{"step_id": 1, "attempt_details": [{"attempt": 1, "evaluation": "fine"}]}],
    }
    session = session_from_record(record)

    assert session.status is None
    assert session.plan is None
    assert session.extra == {
        "status": 5,
        "plan": "think, then act",
        "session_metadata": ["no", "object"],
    }
    assert session.reward.extra == {"score": "high", "judges": [1]}
    assert session.score is None
    assert session.steps[0].attempts[0].extra == {"evaluation": "fine"}
    assert session_from_record(session_to_record(session)) == session


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({}, "'task' is missing"),
        ({"task": 3}, "'task' is missing or no text"),
        ({"task": "t", "steps": {"1": {}}}, "steps: expected list, found dict"),
        ({"task": "t", "steps": [{"step_id": 1}, {}]}, r"steps\[1\]: expected int, found NoneType"),
        (
            {"task": "t", "steps": [{"step_id": 1, "guidance": [{"note": 1, "sequence": 1}]}]},
            r"steps\[0\]: expected str, found int",
        ),
        (
            {"task": "t", "trajectory_events": [{"event": {}, "weight": 2}]},
            r"trajectory_events\[0\]: unknown field weight",
        ),
    ],
)
def test_what_a_session_cannot_do_without_is_named(record, reason):
    with pytest.raises(MisshapenError, match=reason):
        session_from_record(record)


def test_a_field_set_twice_is_refused():
    session = Session(task="t", learning_key="a", metadata={"learning_key": "b"})

    with pytest.raises(AtlasError, match="sets learning_key twice"):
        session_to_record(session)


def test_a_time_without_zone_is_utc():
    session = session_from_record({"task": "t", "created_at": "2025-01-02T03:04:05"})

    assert session.created_at is not None
    assert session.created_at.isoformat() == "2025-01-02T03:04:05+00:00"
