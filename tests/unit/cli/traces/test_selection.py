"""Options to queries."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from atlas.cli.traces.selection import OPTIONS, SelectionOptions, said_left_out
from atlas.errors import AtlasError
from atlas.traces.export import left_out
from atlas.traces.store import SessionQuery


def test_nothing_given_lets_everything_pass() -> None:
    assert SelectionOptions().is_empty
    assert SelectionOptions(status=[], review_status=[]).query() == SessionQuery()
    assert not SelectionOptions(min_reward=0.0).is_empty


def test_every_option_reaches_the_query() -> None:
    query = SelectionOptions(
        status=["failed", "succeeded"],
        review_status=["pending"],
        learning_key="k",
        since="2026-01-31",
        until="2026-02-01T18:00+01:00",
        min_reward=0.25,
        max_reward=0.5,
    ).query(limit=3, offset=2, events=False)
    assert query == SessionQuery(
        status_filters=["failed", "succeeded"],
        review_status_filters=["pending"],
        learning_key="k",
        start_date=date(2026, 1, 31),
        end_date=datetime(2026, 2, 1, 18, tzinfo=timezone(timedelta(hours=1))),
        min_reward=0.25,
        max_reward=0.5,
        limit=3,
        offset=2,
        include_trajectory_events=False,
    )


def test_a_day_until_which_counts_as_a_whole() -> None:
    latest = SelectionOptions(until="2026-01-31").query().latest
    assert latest == datetime(2026, 2, 1, tzinfo=UTC) - timedelta(microseconds=1)


def test_statuses_to_include_come_besides_approved_ones() -> None:
    assert SelectionOptions(
        include_status=["pending", "approved"]
    ).query().review_status_filters == (
        "approved",
        "pending",
    )


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (
            SelectionOptions(since="yesterday"),
            "--since is 'yesterday': write a day as in 2026-01-31",
        ),
        (SelectionOptions(until="2026-02-30"), "--until is '2026-02-30'"),
        (SelectionOptions(min_reward=float("nan")), "min_reward is nan"),
    ],
)
def test_what_can_t_be_meant_is_one_line(selection: SelectionOptions, message: str) -> None:
    with pytest.raises(AtlasError, match=message) as caught:
        selection.query()
    assert "\n" not in str(caught.value)


def test_every_filter_that_can_take_sessions_away_has_an_option_to_be_blamed() -> None:
    class Halving:
        """Has fewer sessions for every filter more."""

        def count(self, query: SessionQuery) -> int:
            default = SessionQuery()
            used = [f for f in fields(query) if getattr(query, f.name) != getattr(default, f.name)]
            return 64 >> len(used)

    full = SelectionOptions(
        status=["a"],
        review_status=["b"],
        learning_key="c",
        since="2026-01-01",
        until="2026-01-01",
        min_reward=0,
        max_reward=1,
    ).query()
    taken = left_out(Halving(), full)  # pyright: ignore[reportArgumentType]
    assert taken.keys() == OPTIONS.keys()
    assert said_left_out({"status_filters": 2, "min_reward": 1}) == (
        "2 by --status, 1 by --min-reward"
    )
