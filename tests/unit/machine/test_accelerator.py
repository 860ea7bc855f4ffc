from __future__ import annotations

import os

import pytest
import torch

from atlas.machine.accelerator import VARIABLE, name_accelerator


@pytest.mark.parametrize(
    ("there_is_a_gpu", "before", "after"),
    [(False, None, "cpu"), (False, "xpu", "xpu"), (True, None, None)],
)
def test_the_cpu_is_named_where_nobody_knows_better(
    monkeypatch: pytest.MonkeyPatch, there_is_a_gpu: bool, before: str | None, after: str | None
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there_is_a_gpu)
    monkeypatch.setenv(VARIABLE, before or "")
    if before is None:
        monkeypatch.delenv(VARIABLE)
    name_accelerator()
    assert os.environ.get(VARIABLE) == after
