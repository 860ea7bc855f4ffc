"""Ctrl-C: the first one asks a loop to stop after its step, the second one stops it at once.

The doctor asks in the same way (training/loop.py).
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Literal


class Stopped(Exception):
    """The user, or the doctor, asked to stop; what was done is saved."""


class StopRequest:
    """Whether a stop was asked for."""

    def __init__(self) -> None:
        self.asked = False
        self.signal = signal.SIGINT
        """The one that asked."""
        self.doctor: Literal["", "pause", "stop"] = ""
        """What the doctor asked for, where it did."""

    def ask(self, doctor: Literal["pause", "stop"]) -> None:
        """Ask for what the doctor wants."""
        self.asked, self.doctor = True, doctor

    @property
    def how(self) -> str:
        """How the work ended, for the log: ``stopped by SIGTERM``, ``paused by the doctor``."""
        if self.doctor:
            return f"{'paused' if self.doctor == 'pause' else 'stopped'} by the doctor"
        return f"stopped by {self.signal.name}"

    @property
    def exit_code(self) -> int:
        """What the process ends with: for a signal what shells have for it."""
        return 1 if self.doctor == "pause" else 128 + self.signal

    def settle(self) -> None:
        """Agree with the other processes, where there are any, on whether a stop was asked for."""

    def check(self) -> None:
        """Raise `Stopped` if a stop was asked for. Call it where stopping loses nothing."""
        if self.asked:
            raise Stopped


@contextlib.contextmanager
def stop_on_signal(on_ask: Callable[[], None] = lambda: None) -> Iterator[StopRequest]:
    """Catch SIGINT, SIGTERM and SIGHUP for as long as the block runs; only in the main thread.

    Args:
        on_ask: Called at the first signal, to tell the user that it was heard.
    """
    request = StopRequest()

    def ask(number: int, frame: FrameType | None) -> None:
        if request.asked:
            raise KeyboardInterrupt
        request.asked, request.signal = True, signal.Signals(number)
        on_ask()

    signals = [signal.SIGINT, signal.SIGTERM]
    # Where it is ignored it stays so: nohup does that, and means it.
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    before = [signal.signal(number, ask) for number in signals]
    try:
        yield request
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
