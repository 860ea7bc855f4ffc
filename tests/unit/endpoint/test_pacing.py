from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from atlas.endpoint.pacing import (
    BASE_S,
    CAP_S,
    RateLimitGate,
    asked_delay,
    retry_delay,
)


@pytest.mark.parametrize(
    ("headers", "refused", "seconds"),
    [
        ({}, True, None),
        ({"retry-after": "7"}, True, 7.0),
        ({"retry-after": "1.5"}, False, 1.5),
        ({"retry-after-ms": "250"}, True, 0.25),
        ({"retry-after": "soon"}, True, None),
        ({"retry-after": "-3"}, True, None),
        ({"x-ratelimit-reset-requests": "6m0s"}, True, 360.0),
        (
            {"x-ratelimit-reset-requests": "20ms", "x-ratelimit-reset-tokens": "2m59.5s"},
            True,
            179.5,
        ),
        ({"x-ratelimit-reset-requests": "1h2s"}, False, None),
        (
            {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1h2s"},
            False,
            3602.0,
        ),
        ({"x-ratelimit-remaining-tokens": "9", "x-ratelimit-reset-tokens": "1s"}, True, None),
        ({"retry-after": "2", "x-ratelimit-reset-requests": "5s"}, True, 5.0),
    ],
)
def test_what_headers_ask_for(headers: dict[str, str], refused: bool, seconds: float) -> None:
    assert asked_delay(headers, refused=refused) == seconds


def test_dates_are_read() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=100)
    for text in (format_datetime(soon, usegmt=True), soon.isoformat(), str(time.time() + 100)):
        seconds = asked_delay({"retry-after": text}, refused=True)
        assert seconds is not None
        assert 95 < seconds <= 100
    past = format_datetime(soon - timedelta(hours=1), usegmt=True)
    assert asked_delay({"retry-after": past}, refused=True) == 0


def test_jitter_is_full_grows_and_comes_on_top_of_what_is_asked() -> None:
    rng = random.Random(0)
    first = [retry_delay(1, None, rng) for _ in range(2000)]
    assert 0 <= min(first) < 0.02 * BASE_S
    assert 1.98 * BASE_S < max(first) <= 2 * BASE_S
    assert sum(first) / 2000 == pytest.approx(BASE_S, rel=0.05)
    assert CAP_S * 0.98 < max(retry_delay(30, None, rng) for _ in range(2000)) <= CAP_S
    assert 7 <= retry_delay(1, 7.0, rng) <= 7 + 2 * BASE_S


def test_a_gate_holds_until_the_latest_moment_that_was_named() -> None:
    now, slept = [0.0], []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    gate = RateLimitGate(clock=lambda: now[0], sleep=sleep)
    asyncio.run(gate.passed())
    assert slept == []
    gate.close_for(5)
    gate.close_for(2)
    asyncio.run(gate.passed())
    assert slept == [5.0]
    assert gate.remaining_s == 0
