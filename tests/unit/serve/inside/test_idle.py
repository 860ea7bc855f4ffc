"""The patch of vLLM's busy loops, on a module built as vLLM's; the real one is in tests/serving."""

from __future__ import annotations

import configparser
import importlib
from types import SimpleNamespace
from typing import Any

from atlas.serve.inside import idle


def shm_broadcast() -> Any:
    class SpinCondition:
        def __init__(self, is_reader: bool, *, notify_address: str, busy_loop_s: float = 1) -> None:
            self.given = (is_reader, notify_address, busy_loop_s)

    return SimpleNamespace(SpinCondition=SpinCondition, SHM_READER_RECHECK_INTERVAL_MS=5000)


def test_processes_sleep_and_look_again_soon() -> None:
    module = shm_broadcast()
    for _ in range(2):  # vLLM may load plugins more than once
        idle.patch(module)
    assert module.SpinCondition(True, notify_address="a").given == (True, "a", 0.002)
    assert module.SHM_READER_RECHECK_INTERVAL_MS == 2


def test_another_version_of_vllm_is_left_alone() -> None:
    for name in ("SpinCondition", "SHM_READER_RECHECK_INTERVAL_MS"):
        module = shm_broadcast()
        delattr(module, name)
        before = dict(vars(module))
        idle.patch(module)
        assert vars(module) == before


def test_the_entry_point_names_a_function_that_is_there() -> None:
    parser = configparser.ConfigParser()
    parser.read_string(idle.ENTRY_POINT)
    ((_, target),) = parser.items("vllm.general_plugins")
    module, _, function = target.partition(":")
    assert getattr(importlib.import_module(module), function) is idle.register
