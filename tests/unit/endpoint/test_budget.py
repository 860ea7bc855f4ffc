from __future__ import annotations

import asyncio

import pytest

from atlas.endpoint.budget import Budget, Usage
from atlas.errors import AtlasError

CALL = Usage(calls=1, input_tokens=100, output_tokens=50, cost=0.5)
CHEAP = Usage(calls=1, input_tokens=10, output_tokens=5, cost=0.05)


@pytest.mark.parametrize(
    ("limits", "fit"),
    [({"max_calls": 3}, 3), ({"max_tokens": 450}, 3), ({"max_cost": 1.1}, 2), ({}, 20)],
)
def test_each_limit_stops_before_it_is_passed(limits: dict[str, float], fit: int) -> None:
    async def spend() -> int:
        budget = Budget(**limits)  # type: ignore[arg-type]
        for done in range(20):
            try:
                await budget.reserve(CALL)
            except AtlasError:
                return done
            await budget.settle(CALL, CALL)
        return 20

    assert asyncio.run(spend()) == fit


def test_the_message_names_the_limit_and_what_was_spent() -> None:
    async def spend() -> None:
        budget = Budget(max_calls=1200, spent=Usage(calls=1200, input_tokens=5000, cost=1.25))
        await budget.reserve(CALL)

    with pytest.raises(
        AtlasError, match=r"1,200 calls, 5,000 tokens, cost 1.25, .* max_calls=1200"
    ):
        asyncio.run(spend())


def test_processes_share_the_limits_in_equal_parts() -> None:
    async def spend() -> int:
        budget = Budget(max_calls=7, parts=2, spent=Usage(calls=3).part(2))
        await budget.reserve(CALL)
        await budget.settle(CALL, CALL)
        with pytest.raises(AtlasError, match=r"max_calls=7 \(one of 2 processes may use its part"):
            await budget.reserve(CALL)
        return budget.spent.calls

    assert asyncio.run(spend()) == 3


def test_calls_on_their_way_count_with_the_most_they_can_cost() -> None:
    """Of a limit of two and a half calls, two go out; the third waits for what they did cost."""

    async def spend() -> list[str]:
        budget, events = Budget(max_tokens=375), []

        async def third() -> None:
            await budget.reserve(CALL)
            events.append("third goes out")

        await budget.reserve(CALL)
        await budget.reserve(CALL)
        waiting = asyncio.create_task(third())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        events.append("first is back")
        await budget.settle(CALL, CHEAP)
        await waiting
        assert budget.spent == CHEAP
        return events

    assert asyncio.run(spend()) == ["first is back", "third goes out"]
