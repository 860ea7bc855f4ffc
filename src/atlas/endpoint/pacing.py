"""When the next call may go out: what rate-limit headers say, and how long to wait before a retry.

    delay of retry n = what the server asks for, plus U(0, min(cap, base · 2ⁿ))       (full jitter)

Input: response headers. Output: seconds. All calls to one endpoint share a `RateLimitGate`, so that
one refusal holds all of them back, not only the call that was refused.
"""

from __future__ import annotations

import asyncio
import email.utils
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

BASE_S = 0.25
CAP_S = 20.0
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?")
_EPOCH = 1e9
"""A number of seconds above this is a date."""
_LIMITS = ("requests", "tokens")


def retry_delay(attempt: int, asked: float | None, rng: random.Random) -> float:
    """Return the seconds to wait before a retry.

    Args:
        attempt: Attempts that have failed, from 1.
        asked: What the server asked for, if it did.
        rng: Not Python's global one: the trainer's random numbers must not depend on outages.
    """
    return (asked or 0.0) + rng.uniform(0, min(CAP_S, BASE_S * 2**attempt))


def asked_delay(headers: Mapping[str, str], *, refused: bool) -> float | None:
    """Return how many seconds a response asks to wait; None where it doesn't.

    Args:
        headers: With names in lower case, or insensitive to case.
        refused: The response was a refusal (429, 503); then a reset time counts even where no
            header says what remains. Otherwise only where nothing remains.
    """
    milliseconds = headers.get("retry-after-ms")
    found = [_seconds(milliseconds, scale=0.001), _seconds(headers.get("retry-after"))]
    for limit in _LIMITS:
        remaining = headers.get(f"x-ratelimit-remaining-{limit}")
        if remaining == "0" or (refused and remaining is None):
            found.append(_seconds(headers.get(f"x-ratelimit-reset-{limit}")))
    known = [seconds for seconds in found if seconds is not None]
    return max(known) if known else None


class RateLimitGate:
    """Holds back all calls to one endpoint until a moment that its headers named.

    Args:
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._opens_at = 0.0

    def close_for(self, seconds: float) -> None:
        """Let nothing through for so long; a later moment that is set already stays."""
        self._opens_at = max(self._opens_at, self._clock() + seconds)

    @property
    def remaining_s(self) -> float:
        """Seconds until it opens; 0 where it is open."""
        return max(0.0, self._opens_at - self._clock())

    async def passed(self) -> None:
        """Return as soon as a call may go out."""
        while self.remaining_s > 0:
            await self._sleep(self.remaining_s)


def _seconds(text: str | None, *, scale: float = 1.0) -> float | None:
    """Read ``30``, ``1.5``, ``6m0s``, ``20ms``, a Unix time or a date; None where it is none."""
    text = (text or "").strip()
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        match = _DURATION.fullmatch(text)
        return _duration(match) if match else _until(text)
    if not 0 <= number < float("inf"):
        return None
    return max(0.0, number - time.time()) if number > _EPOCH else number * scale


def _duration(match: re.Match[str]) -> float:
    scales = (86400, 3600, 60, 1, 0.001)
    return sum(
        float(part) * scale for part, scale in zip(match.groups(), scales, strict=True) if part
    )


def _until(date: str) -> float | None:
    for read in (email.utils.parsedate_to_datetime, datetime.fromisoformat):
        try:
            return max(0.0, read(date).timestamp() - time.time())
        except ValueError:
            continue
    return None
