"""Many requests to one or several servers of the same weights: each answered exactly once.

Input: a list of `SampleRequest`. Output: their samples, in order. A request goes to the server with
the fewest under way, and waits where that has enough to do. One that is lost is sent again, after
whoever looks after the server has brought it back::

    ask ──► free place ──► send ──► answer with the right weights? ──► kept, once
              ▲                          │ no, or none
              └────────── revive ◄───────┘
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from atlas.errors import OutageError
from atlas.machine.background_loop import BackgroundLoop, side_by_side
from atlas.rollouts.vllm.server import RequestLost, ServerFacts, VLLMServer
from atlas.rollouts.vllm.wire import Sampled, SampleRequest, UnusableAnswer

T = TypeVar("T")

Revive = Callable[[VLLMServer, str], None]
"""Returns when the server serves the right weights again; told why it is asked. It runs in a thread
of its own, once at a time a server, and raises `AtlasError` where there is no hope."""
Accept = Callable[[Sampled], str]
"""Why a sample can't be used; empty where it can."""


class ServerPool:
    """Servers, and the requests that are under way.

    Args:
        servers: At least one; all serve the same model.
        max_in_flight: Most requests under way at a server.
        max_retries: So often a request is sent again before the run is stopped.
        revive: Brings a server back; None waits until it answers again.
        revive_s: So long that waits, in seconds.
    """

    def __init__(
        self,
        servers: Sequence[VLLMServer],
        *,
        max_in_flight: int = 256,
        max_retries: int = 3,
        revive: Revive | None = None,
        revive_s: float = 120.0,
    ) -> None:
        assert servers
        self.servers = tuple(servers)
        self.revive = revive
        self.resent = 0
        """Requests that were sent again, since the start."""
        self._max_retries = max_retries
        self._revive_s = revive_s
        self._places = [_Place(server, max_in_flight) for server in servers]
        self._loop = BackgroundLoop("servers")

    def open(self) -> list[ServerFacts]:
        """Connect to all, and ask each who it is.

        Raises:
            AtlasError: One can't be reached, or is no vLLM server.
        """
        return self.run(self._open())

    @property
    def window(self) -> int:
        """Most tokens of prompt and completion together, on every server."""
        return min(server.facts.window for server in self.servers)

    def complete(
        self, asks: Sequence[SampleRequest], accept: Accept = lambda _: ""
    ) -> list[list[Sampled]]:
        """Return the samples of every request, in order.

        Args:
            accept: Looks at every sample; a request with one that can't be used is sent again.

        Raises:
            AtlasError: A server refuses, or a request was lost too often.
        """
        answered: dict[int, list[Sampled]] = {}

        async def one(index: int, ask: SampleRequest) -> None:
            sampled = await self._answered(ask, accept)
            assert index not in answered
            answered[index] = sampled

        self.run(side_by_side([one(index, ask) for index, ask in enumerate(asks)]))
        return [answered[index] for index in range(len(asks))]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine where the servers' connections live, and wait for it."""
        pending = self._loop.submit(work)
        try:
            return pending.result()
        except BaseException:
            pending.cancel()  # Ctrl-C: the server drops what nobody waits for
            raise

    def close(self) -> None:
        """Close all connections."""
        self.run(side_by_side([server.close() for server in self.servers]))
        self._loop.close()

    async def _open(self) -> list[ServerFacts]:
        async def one(server: VLLMServer) -> ServerFacts:
            try:
                return await server.open()
            except RequestLost as lost:
                raise OutageError(
                    f"there is no server at {server.url} ({lost}); start it with atlas serve, or "
                    "give the right address"
                ) from None

        return await side_by_side([one(server) for server in self.servers])

    async def _answered(self, ask: SampleRequest, accept: Accept) -> list[Sampled]:
        lost = 0
        while True:
            place = min(self._places, key=lambda place: place.under_way)
            life = place.life
            try:
                sampled = await place.send(ask)
                reasons = [reason for one in sampled if (reason := accept(one))]
                if not reasons:
                    return sampled
                raise UnusableAnswer(reasons[0])
            except (RequestLost, UnusableAnswer) as error:
                lost += 1
                self.resent += 1
                if lost > self._max_retries:
                    raise OutageError(
                        f"the server at {place.server.url} gave no completion after {lost} tries: "
                        f"{error}; its log says more (request_timeout is {place.server.timeout_s:g}"
                        " s)"
                    ) from None
                await self._brought_back(place, life, str(error))

    async def _brought_back(self, place: _Place, life: int, why: str) -> None:
        """Return when the server is well again; of many who ask for it, one sees to it."""
        async with place.reviving:
            if place.life != life:
                return
            if self.revive is not None:
                await asyncio.to_thread(self.revive, place.server, why)
            else:
                await self._healthy(place.server, why)
            place.life += 1

    async def _healthy(self, server: VLLMServer, why: str) -> None:
        try:
            async with asyncio.timeout(self._revive_s):
                while not await server.healthy():
                    await asyncio.sleep(0.5)
        except TimeoutError:
            raise OutageError(
                f"the server at {server.url} was lost ({why}) and didn't come back within "
                f"{self._revive_s:g} s; start it again and resume the run"
            ) from None


class _Place:
    """A server, with room for so many requests."""

    def __init__(self, server: VLLMServer, size: int) -> None:
        self.server = server
        self.under_way = 0
        """Requests that were sent there or wait for room."""
        self.life = 0
        """Counts how often it was brought back."""
        self.reviving = asyncio.Lock()
        self._room = asyncio.Semaphore(size)

    async def send(self, ask: SampleRequest) -> list[Sampled]:
        self.under_way += 1
        try:
            async with self._room:
                return await self.server.complete(ask)
        finally:
            self.under_way -= 1
