"""Is the endpoint out of order? Then the run pauses, and stops if it stays so.

    too many abstentions among the last calls -> pause; one call at a time tries again, each after a
    longer wait; one answer -> go on; no healthy window until the deadline -> AtlasError

Input: the outcome of every call. Output: permission for the next one. Single
abstentions cost a run the members they concern; this is for when they are no exception any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable

from atlas.config.parts.endpoint import LimitsConfig
from atlas.endpoint.owner import Owner
from atlas.errors import OutageError

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
_MIN_TRIALS = 3
"""A deadline that passed during a long training step, without a trial, says nothing."""

_log = logging.getLogger(__name__)


class WatchedCall:
    """One call while it is under way; whoever makes it says if it failed."""

    __slots__ = ("kind", "reason")

    def __init__(self) -> None:
        self.kind = self.reason = ""

    def failed(self, kind: str, reason: str) -> None:
        """Say that the call gave no answer."""
        self.kind, self.reason = kind, reason


class OutageWatch:
    """Watches one endpoint. Belongs to one event loop.

    Args:
        name: Model and address, for messages.
        limits: The share of the last calls without an answer that is put up with, and for how long:
            from the first pause on; a window without trouble ends the count.
        owner: Who calls.
        say: Takes a line for a person when the run pauses and when it goes on.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        name: str,
        limits: LimitsConfig,
        *,
        owner: Owner,
        say: Callable[[str], None] = _log.warning,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._name = name
        self._owner = owner
        self._max_rate = limits.max_abstention_rate
        self._deadline_s = limits.outage_deadline_s
        self._say = say
        self._clock = clock
        self._sleep = sleep
        self._last: deque[str] = deque(maxlen=limits.abstention_window)
        self._trial = asyncio.Lock()
        self._trouble: Counter[str] = Counter()
        self._reason = ""
        self._since: float | None = None
        self._num_trials = 0
        self._wait_s = FIRST_WAIT_S
        self._paused = False

    @property
    def paused(self) -> bool:
        """Only single trials go out."""
        return self._paused

    @contextlib.asynccontextmanager
    async def attempt(self) -> AsyncIterator[WatchedCall]:
        """Surround one call: wait while the run is paused, then take note of how it went.

        Raises:
            AtlasError: The endpoint hasn't recovered before the deadline.
        """
        attempt = WatchedCall()
        if not self._paused:
            yield attempt
            self._note(attempt)
            return
        async with contextlib.AsyncExitStack() as turns:
            await turns.enter_async_context(self._trial)
            if not self._paused:
                # The call before this one recovered: the others needn't go one by one any more.
                await turns.aclose()
                yield attempt
                self._note(attempt)
                return
            self._stop_if_too_late()
            await self._sleep(self._wait_s)
            yield attempt
            self._note_trial(attempt)

    def _note(self, attempt: WatchedCall) -> None:
        if self._paused:
            return  # it was on its way when the pause began
        self._last.append(attempt.kind)
        if attempt.kind:
            self._reason = attempt.reason
        if len(self._last) < (self._last.maxlen or 0):
            return
        failed = [kind for kind in self._last if kind]
        if len(failed) <= self._max_rate * len(self._last):
            self._since, self._num_trials = None, 0
            return
        self._trouble = Counter(failed)
        self._since = self._clock() if self._since is None else self._since
        self._paused, self._wait_s = True, FIRST_WAIT_S
        self._num_trials += 1
        pause = f"calls of the {self._owner.name} pause: {self._account()}"
        self._say(f"{pause}; trying again one call at a time")

    def _note_trial(self, attempt: WatchedCall) -> None:
        if not attempt.kind:
            self._paused = False
            self._last.clear()
            self._say(f"calls of the {self._owner.name} go on: {self._name} answers again")
            return
        self._reason = attempt.reason
        self._trouble[attempt.kind] += 1
        self._num_trials += 1
        self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)

    def _stop_if_too_late(self) -> None:
        assert self._since is not None
        fewer, more = map(self._owner.key, ("concurrency", "max_abstention_rate"))
        if self._num_trials >= _MIN_TRIALS and self._clock() - self._since >= self._deadline_s:
            raise OutageError(
                f"{self._account()}, and it has not recovered in {self._deadline_s:.0f} s; mend it "
                f"(or lower {fewer}, or raise {more}) and run the same command again"
            )

    def _account(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in self._trouble.most_common())
        return f"too many calls of {self._name} gave no answer ({kinds}; last: {self._reason})"
