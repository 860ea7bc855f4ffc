"""An event loop in a thread of its own: calls of other machines wait there, not here.

Input: coroutines. Output: futures, done when the coroutines are::

    pending = loop.submit(work())     # returns at once
    ...                               # do something else meanwhile
    result = pending.result()

Everything that calls share (connections, limits, caches) lives in that one loop; so the same object
serves a script, a notebook with a loop of its own, and several threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

_CLOSE_S = 10.0


class BackgroundLoop:
    """The loop, started with the first work that it is given.

    Args:
        name: Of its thread, for whoever looks at the process.
    """

    def __init__(self, name: str) -> None:
        self._name = f"atlas-{name}"
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin some work; its result, or its exception, is the future's. Cancelling stops it."""
        return asyncio.run_coroutine_threadsafe(work, self._running())

    def close(self) -> None:
        """Stop all work and end the thread; work that is given later starts a new one."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None:
            return
        with contextlib.suppress(TimeoutError):  # something in it neither ends nor lets others run
            asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result(_CLOSE_S)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(_CLOSE_S)
        if not thread.is_alive():
            loop.close()

    def answers(self, seconds: float) -> bool:
        """Tell whether the loop does anything within some time; not so while work blocks it."""
        try:
            self.submit(asyncio.sleep(0)).result(seconds)
        except TimeoutError:
            return False
        return True

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                # A daemon: a program that ends doesn't wait for answers that nobody asks for.
                self._thread = threading.Thread(
                    target=_run, args=(self._loop,), name=self._name, daemon=True
                )
                self._thread.start()
            return self._loop


async def side_by_side(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run all side by side; the first error stops the others, and is raised in its own words."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()


async def _cancel_all() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
