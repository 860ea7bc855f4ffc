"""Time is a number here that only sleeping moves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from atlas.config.parts.endpoint import LimitsConfig
from atlas.endpoint.outage import OutageWatch
from atlas.endpoint.owner import JUDGES
from atlas.errors import AtlasError


class Line:
    """A watch over an endpoint that fails whenever its script says so."""

    def __init__(self, *, max_rate: float = 0.2, window: int = 10, deadline_s: float = 100) -> None:
        self.now = 0.0
        self.waits: list[float] = []
        self.said: list[str] = []
        self.watch = OutageWatch(
            "m at u",
            LimitsConfig(
                max_abstention_rate=max_rate,
                abstention_window=window,
                outage_deadline_s=deadline_s,
            ),
            owner=JUDGES,
            say=self.said.append,
            clock=lambda: self.now,
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    async def call(self, fails: bool) -> None:
        async with self.watch.attempt() as attempt:
            await asyncio.sleep(0)
            if fails:
                attempt.failed("timeout", "no answer in time")

    def run(self, script: Sequence[bool]) -> None:
        async def all_calls() -> None:
            for fails in script:
                await self.call(fails)

        asyncio.run(all_calls())


GOOD, BAD = [False], [True]


@pytest.mark.parametrize(
    ("script", "paused"),
    [
        (BAD * 9, False),  # not yet a whole window
        (BAD * 10, True),
        (GOOD * 8 + BAD * 2, False),  # at the limit
        (GOOD * 7 + BAD * 3, True),
        (BAD * 2 + GOOD * 8 + BAD * 2, False),  # never more than 2 of the last 10
    ],
)
def test_it_pauses_above_the_rate_over_a_whole_window(script: list[bool], paused: bool) -> None:
    line = Line()
    line.run(script)
    assert line.watch.paused is paused
    assert len(line.said) == paused


def test_one_trial_at_a_time_and_one_answer_ends_the_pause() -> None:
    line = Line()
    line.run(BAD * 10 + BAD * 3 + GOOD + GOOD * 5)
    assert line.waits == [1.0, 2.0, 4.0, 8.0]
    assert line.said == [
        "calls of the judges pause: too many calls of m at u gave no answer (10 timeout; "
        "last: no answer in time); trying again one call at a time",
        "calls of the judges go on: m at u answers again",
    ]


def test_those_that_wait_together_go_on_side_by_side_after_the_trial() -> None:
    line = Line()
    line.run(BAD * 10)
    inside: list[int] = []
    events: list[str] = []

    async def call(number: int) -> None:
        async with line.watch.attempt():
            inside.append(number)
            events.append(f"{len(inside)} inside")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            inside.remove(number)

    async def together() -> None:
        await asyncio.gather(*(call(number) for number in range(4)))

    asyncio.run(together())
    assert events[0] == "1 inside"
    assert "1 inside" in events[1:2]  # the trial has left before the others come in
    assert events[-1] == "3 inside"
    assert line.waits == [1.0]


def test_it_stops_when_it_has_not_recovered_in_time() -> None:
    line = Line(deadline_s=20)
    with pytest.raises(AtlasError, match=r"m at u gave no answer \(15 timeout; last: no answer in"):
        line.run(BAD * 100)
    assert line.waits == [1.0, 2.0, 4.0, 8.0, 16.0]


def test_coming_and_going_counts_as_one_outage() -> None:
    """Every trial succeeds, and yet each window after it is as bad as the last."""
    line = Line(deadline_s=3, max_rate=0.5)
    with pytest.raises(AtlasError, match="has not recovered in 3 s"):
        line.run((BAD * 10 + GOOD) * 9)


def test_a_healthy_window_ends_the_outage() -> None:
    line = Line(deadline_s=3)
    line.run(BAD * 10 + GOOD * 11 + (BAD * 3 + GOOD * 11) * 8)
    assert len(line.said) == 18


def test_time_that_passed_elsewhere_is_no_trial() -> None:
    line = Line(deadline_s=20)
    line.run(BAD * 10)
    line.now += 1000
    line.run(BAD)
    line.run(GOOD)
    assert not line.watch.paused
