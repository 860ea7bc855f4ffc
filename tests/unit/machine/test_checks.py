"""What this machine has, as the doctor says it."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from atlas.machine import checks as machine


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "hub_answers", lambda endpoint: False)


def test_this_machine_can_train(tmp_path: Path) -> None:
    checks = {check.name: check for check in machine.machine_checks(tmp_path)}
    assert {"python", "packages", "memory", "disk", "bfloat16", "threads"} <= checks.keys()
    assert checks["packages"].state == "ok"
    assert checks["model hub"].state == "note"
    assert "None" not in checks["packages"].text


def test_a_disk_that_is_nearly_full_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**12, 10**12, 10**6))
    checks = {check.name: check for check in machine.machine_checks(tmp_path)}
    assert checks["disk"].state == "problem"
