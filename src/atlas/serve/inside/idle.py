"""Processes of a server that wait without taking a processor, on a CPU.

vLLM's processes look for messages in a busy loop until none has come for a second. On a CPU the
processors that they take are those that the others of them, and the trainer, compute with: on two
cores, what a trainer computes between two requests takes a fifth of the time without.
"""

from __future__ import annotations

import importlib
import logging
from typing import Any

NAME = "atlas_idle"
ENTRY_POINT = f"[vllm.general_plugins]\n{NAME} = {__name__}:register\n"
"""As the metadata of a package tells vLLM, which calls it in each of its processes."""
_BUSY_S = 0.002
_LOOK_EVERY_MS = 2
"""A notice may be lost; vLLM itself then looks again after five seconds."""
PATCHED = "waits for messages asleep, not in a busy loop"
# Below vLLM's own name, so that its log has the line.
_log = logging.getLogger("vllm.atlas")


def register() -> None:
    """Patch this process, if it serves on a CPU. May be called again."""
    if importlib.import_module("vllm.platforms").current_platform.is_cpu():
        patch(importlib.import_module("vllm.distributed.device_communicators.shm_broadcast"))


def patch(module: Any) -> None:
    """Patch a module that is built as vLLM's ``shm_broadcast`` is; leave any other one alone."""
    kind = getattr(module, "SpinCondition", None)
    if kind is None or not hasattr(module, "SHM_READER_RECHECK_INTERVAL_MS"):
        return
    module.SHM_READER_RECHECK_INTERVAL_MS = _LOOK_EVERY_MS
    if hasattr(kind, "atlas_sleeps"):
        return
    inner = kind.__init__

    def __init__(self: Any, *arguments: Any, **named: Any) -> None:
        inner(self, *arguments, **{**named, "busy_loop_s": _BUSY_S})

    kind.__init__, kind.atlas_sleeps = __init__, True
    _log.info("%s", PATCHED)
