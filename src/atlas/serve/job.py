"""A training that was started here: told to stop, and ended, with its whole process group."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence

import psutil

_END_S = 20.0


class Job:
    """A command in a process group of its own. Leaving its ``with`` block ends it.

    A Ctrl-C at the terminal reaches it only through `ask_to_stop`, so that it gets one and not two.

    Args:
        command: What runs; its output goes where this process's goes.
        environ: Variables on top of the environment here.
    """

    def __init__(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command, env={**os.environ, **environ}, stdin=subprocess.DEVNULL, start_new_session=True
        )

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()

    @property
    def returncode(self) -> int | None:
        """How it ended; ``None`` while it runs."""
        return self._process.poll()

    def ask_to_stop(self) -> None:
        """Have it end its step and save."""
        if self.returncode is None:
            self._process.send_signal(signal.SIGINT)

    def end(self, deadline_s: float = _END_S) -> int:
        """End it if it runs: asked once, asked again, killed. Return its exit code."""
        # torchrun's processes have sessions of their own, where a signal to the group doesn't get.
        family = _descendants(self._process.pid)
        try:
            for _ in range(2):
                if self.returncode is None:
                    self._process.terminate()
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        self._process.wait(deadline_s)
        finally:
            # Also where the user doesn't wait for it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            for process in family:
                # psutil tells a process from another one that got its number later.
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        return self._process.wait(deadline_s)


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
