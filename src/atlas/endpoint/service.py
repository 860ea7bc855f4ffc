"""A model behind an endpoint with what its calls share: the same question is asked once.

Input: a question's key and a call that would answer it. Output: the answer, from the cache, from
the same question that is on its way already, or from the call; or an `Abstention` with its reason.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from atlas.config.parts.endpoint import EndpointConfig, LimitsConfig
from atlas.endpoint.budget import Budget, Usage
from atlas.endpoint.cache import AnswerCache
from atlas.endpoint.client import Endpoint
from atlas.endpoint.failures import Abstention
from atlas.endpoint.outage import OutageWatch
from atlas.endpoint.owner import Owner

T = TypeVar("T")

ANSWERED, CACHED = "answered", "cached"
_UNDER_WAY = 2
"""Calls that have begun, for each that may be on its way."""


class Form(Protocol[T]):
    """How an answer is kept as text."""

    def write(self, answer: T) -> str:
        """Return it as text."""
        ...

    def read(self, text: str) -> T | None:
        """Return it again; None where the text is damaged."""
        ...


class Service:
    """One model, asked by many. Belongs to one event loop.

    Args:
        config: Of the endpoint.
        limits: What an outage is, and how long one is put up with.
        budget: Shared by all services of a run; likewise ``cache``.
        owner: Who asks.
        say: Takes a line for a person when the run pauses and when it goes on.

    Raises:
        AtlasError: The environment variable with the key isn't set.
    """

    def __init__(
        self,
        config: EndpointConfig,
        limits: LimitsConfig,
        *,
        budget: Budget,
        cache: AnswerCache,
        owner: Owner,
        say: Callable[[str], None],
    ) -> None:
        self.endpoint = Endpoint(config, budget, owner=owner)
        self.outcomes = Counter[str]()
        """How often a call was `ANSWERED`, `CACHED`, or ended in a kind of abstention."""
        self._cache = cache
        self._watch = OutageWatch(self.endpoint.name, limits, owner=owner, say=say)
        # Calls that have begun, those that wait for a retry included. More than go out at one time,
        # and far fewer than are wanted, so that a pause holds back the rest.
        self._under_way = asyncio.Semaphore(_UNDER_WAY * config.concurrency)
        self._on_their_way: dict[str, asyncio.Future[Any]] = {}

    async def answer(
        self, key: str, call: Callable[[], Awaitable[T | Abstention]], form: Form[T]
    ) -> T | Abstention:
        """Return the answer to a question, here or in later runs asked once.

        Args:
            key: Names the question and all that decides its answer.
            call: Asks the endpoint.
            form: In which the answer is kept.

        Raises:
            AtlasError: The budget is used up, the endpoint stays out of order, or it is set up
                wrongly.
        """
        text = self._cache.get(key)
        kept = None if text is None else form.read(text)
        if kept is not None:
            self.outcomes[CACHED] += 1
            return kept
        if key in self._on_their_way:
            self.outcomes[CACHED] += 1
            return await asyncio.shield(self._on_their_way[key])
        # A task of its own, so that whoever else waits for it isn't hurt when this caller is
        # cancelled.
        task = asyncio.ensure_future(self._called(key, call, form))
        self._on_their_way[key] = task
        task.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(task)

    async def _called(
        self, key: str, call: Callable[[], Awaitable[T | Abstention]], form: Form[T]
    ) -> T | Abstention:
        async with self._under_way, self._watch.attempt() as attempt:
            found = await call()
            if isinstance(found, Abstention):
                attempt.failed(found.kind, found.reason)
        if isinstance(found, Abstention):
            self.outcomes[found.kind] += 1
        else:
            self.outcomes[ANSWERED] += 1
            self._cache.put(key, form.write(found))
        return found

    def _forget(self, key: str, done: asyncio.Future[Any]) -> None:
        del self._on_their_way[key]
        if not done.cancelled():
            done.exception()  # marks it as seen, where the caller was cancelled and nobody waits


def open_budget(
    limits: LimitsConfig, *, owner: Owner, spent: Usage | None = None, parts: int = 1
) -> Budget:
    """Return the budget that limits set; arguments as for `Budget`."""
    return Budget(
        max_calls=limits.max_calls,
        max_tokens=limits.max_total_tokens,
        max_cost=limits.max_cost,
        spent=spent,
        parts=parts,
        owner=owner,
    )


def open_cache(limits: LimitsConfig, owner: Owner) -> AnswerCache:
    """Return the cache that limits name."""
    return AnswerCache(Path(limits.cache_path) if limits.cache_path else None, owner=owner)
