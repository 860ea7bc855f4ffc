"""Real signals to this very process."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Literal

import pytest

from atlas.run.stopping import Stopped, StopRequest, stop_on_signal


@pytest.fixture(autouse=True)
def _own_handlers() -> Iterator[None]:
    """Start from the usual handlers: a test run in the background inherits ignored signals."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_asks_and_the_next_check_stops(number: int) -> None:
    with stop_on_signal() as request:
        request.check()
        assert not request.asked
        os.kill(os.getpid(), number)
        assert request.asked
        with pytest.raises(Stopped):
            request.check()


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_stops_at_once(second: int) -> None:
    with stop_on_signal() as request:
        os.kill(os.getpid(), signal.SIGINT)
        assert request.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), second)


def test_the_user_is_told_once_that_the_signal_was_heard() -> None:
    told: list[str] = []
    with stop_on_signal(lambda: told.append("heard")):
        assert told == []
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert told == ["heard"]


def test_a_signal_that_was_ignored_stays_ignored() -> None:
    """As nohup does with SIGHUP."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signal() as request:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not request.asked
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_afterwards_signals_do_what_they_did_before() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with contextlib.suppress(RuntimeError), stop_on_signal():
        assert signal.getsignal(signal.SIGINT) != before[0]
        raise RuntimeError
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    with stop_on_signal() as again:
        assert not again.asked


@pytest.mark.parametrize(
    ("doctor", "how", "code"),
    [("pause", "paused by the doctor", 1), ("stop", "stopped by the doctor", 130)],
)
def test_the_doctor_asks_as_a_signal_does(
    doctor: Literal["pause", "stop"], how: str, code: int
) -> None:
    request = StopRequest()
    request.ask(doctor)
    with pytest.raises(Stopped):
        request.check()
    assert (request.how, request.exit_code) == (how, code)


def test_a_stop_is_called_by_its_signal() -> None:
    with stop_on_signal() as request:
        os.kill(os.getpid(), signal.SIGTERM)
    assert (request.how, request.exit_code) == ("stopped by SIGTERM", 143)
