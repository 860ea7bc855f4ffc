from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError

import pytest

from atlas.machine.background_loop import BackgroundLoop


def test_work_goes_on_while_the_caller_does_something_else() -> None:
    events: list[str] = []
    begun, may_end = threading.Event(), threading.Event()

    async def work() -> str:
        events.append("judging begins")
        begun.set()
        await asyncio.to_thread(may_end.wait, 20)
        events.append("judging ends")
        return "verdict"

    pool = BackgroundLoop("judges")
    pending = pool.submit(work())
    assert begun.wait(20)
    events.append("the next group is generated")
    may_end.set()
    assert pending.result(20) == "verdict"
    pool.close()
    assert events == ["judging begins", "the next group is generated", "judging ends"]


def test_an_error_reaches_who_waits_for_it() -> None:
    async def work() -> None:
        raise ValueError("spoilt")

    pool = BackgroundLoop("judges")
    pending = pool.submit(work())
    with pytest.raises(ValueError, match="spoilt"):
        pending.result(20)
    pool.close()


def test_closing_cancels_what_is_under_way_and_ends_the_thread() -> None:
    begun = threading.Event()

    async def work() -> None:
        begun.set()
        await asyncio.sleep(1000)

    pool = BackgroundLoop("judges")
    pending = pool.submit(work())
    assert begun.wait(20)
    pool.close()
    with pytest.raises(CancelledError):
        pending.result(20)
    assert not [thread for thread in threading.enumerate() if thread.name == "atlas-judges"]


def test_a_closed_pool_starts_again() -> None:
    async def work() -> int:
        return 7

    pool = BackgroundLoop("judges")
    for _ in range(2):
        assert pool.submit(work()).result(20) == 7
        pool.close()
    pool.close()
