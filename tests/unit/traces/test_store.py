from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from atlas.session import MISSING, Session, SessionReward
from atlas.traces.store import SessionQuery

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)


def session(**fields) -> Session:
    values = {
        "status": "succeeded",
        "review_status": "approved",
        "created_at": NOON,
        "reward": SessionReward(score=0.8),
        "learning_key": "k",
    }
    return Session(task="t", **{**values, **fields})


@pytest.mark.parametrize(
    "query",
    [
        SessionQuery(),
        SessionQuery(min_reward=0.8),
        SessionQuery(max_reward=0.8),
        SessionQuery(status_filters=["failed", "succeeded"]),
        SessionQuery(review_status_filters=["approved"]),
        SessionQuery(learning_key="k"),
        SessionQuery(created_after=NOON),
        SessionQuery(start_date=date(2025, 3, 1), end_date=date(2025, 3, 1)),
        SessionQuery(end_date=NOON.astimezone(timezone(timedelta(hours=5)))),
        SessionQuery(start_date=date.min, end_date=date.max),
    ],
)
def test_bounds_include_their_ends(query):
    assert query.matches(session())


@pytest.mark.parametrize(
    "query",
    [
        SessionQuery(min_reward=0.81),
        SessionQuery(max_reward=0.79),
        SessionQuery(status_filters=["failed"]),
        SessionQuery(review_status_filters=["pending"]),
        SessionQuery(learning_key="K"),
        SessionQuery(created_after=NOON + timedelta(seconds=1)),
        SessionQuery(start_date=date(2025, 3, 2)),
        SessionQuery(start_date=date(2025, 2, 1), created_after=date(2025, 3, 2)),
        SessionQuery(end_date=date(2025, 2, 28)),
        SessionQuery(end_date=datetime(2025, 3, 1, 11, 59)),
    ],
)
def test_what_is_outside_a_bound_is_out(query):
    assert not query.matches(session())


def test_a_session_without_score_passes_no_reward_bound():
    unscored = session(reward=None)

    assert SessionQuery().matches(unscored)
    assert not SessionQuery(min_reward=-1.0).matches(unscored)
    assert not SessionQuery(max_reward=1.0).matches(unscored)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"status_filters": "succeeded"}, r"give a list, \['succeeded'\]"),
        ({"review_status_filters": []}, "review_status_filters is empty"),
        ({"min_reward": float("nan")}, "min_reward is nan"),
        ({"limit": -1}, "limit is -1"),
        ({"offset": -3}, "offset is -3"),
        ({"limit": 2**63}, "limit is 9223372036854775808: .* below"),
        ({"start_date": "2025-03-01"}, "start_date is '2025-03-01': give a date or a datetime"),
    ],
)
def test_what_cannot_be_meant_is_refused(fields, reason):
    with pytest.raises(ValueError, match=reason):
        SessionQuery(**fields)


def test_trimming_marks_what_was_left_out_as_missing():
    full = session(student_learning="s", learning_history={"n": 1})
    trimmed = SessionQuery(include_trajectory_events=False, include_learning_data=False).trimmed(
        full
    )

    assert trimmed.trajectory_events is MISSING
    assert trimmed.student_learning is MISSING
    assert trimmed.learning_history is MISSING
    assert trimmed.reward == full.reward
    assert SessionQuery().trimmed(full) == full
