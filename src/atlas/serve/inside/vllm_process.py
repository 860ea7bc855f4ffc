"""The server's main program: vLLM's own, which ends when the process that started it is gone.

A launcher that is killed outright can't stop what it started; its servers would hold their memory
and their port until somebody noticed.
"""

from __future__ import annotations

import os
import runpy
import signal
import threading
import time

_LOOK_EVERY_S = 1.0


def main() -> None:
    """Serve until stopped."""
    parent = os.getppid()
    threading.Thread(target=_end_with, args=(parent,), name="parent-watch", daemon=True).start()
    runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__", alter_sys=True)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(20)
    os.killpg(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
