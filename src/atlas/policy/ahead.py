"""Rollouts of the next steps, sampled while the trainer works on this one.

    ahead 0     take(s): roll out s, return it                       on policy
    ahead N     take(s): begin s … s + N where they aren't begun, wait for s, return it

What is rolled out for step s was begun when step s - N was taken: with weights of N versions
before at the oldest. One thread rolls out, step after step, and whatever else uses the same models
runs there too.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Ahead(Generic[T]):
    """Takes what is rolled out for each step, in order.

    Args:
        roll_out: Makes a step's rollouts.
        ahead: Steps that may be begun early.
        last: The last step there is.
    """

    def __init__(self, roll_out: Callable[[int], T], *, ahead: int, last: int) -> None:
        self._roll_out = roll_out
        self._ahead = ahead
        self._last = last
        self._begun: dict[int, Future[T]] = {}
        self._thread = ThreadPoolExecutor(1, "atlas-rollouts") if ahead else None

    def take(self, step: int) -> T:
        """Return the rollouts of a step; raises what its rolling out raised."""
        if self._thread is None:
            return self._roll_out(step)
        for coming in range(step, min(step + self._ahead, self._last) + 1):
            if coming not in self._begun:
                self._begun[coming] = self._thread.submit(self._roll_out, coming)
        return self._begun.pop(step).result()

    def between(self, work: Callable[[], R]) -> R:
        """Run something that uses the same models, after the rollouts that are begun."""
        return work() if self._thread is None else self._thread.submit(work).result()

    def close(self) -> None:
        """Drop what is not begun yet; what is under way ends by itself, or by its servers'."""
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)
