"""What this machine has, as the doctor says it."""

from __future__ import annotations

import shutil
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from atlas.installing import install_command
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


def test_without_what_trains_the_rest_is_still_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = machine._version
    monkeypatch.setattr(
        machine, "_version", lambda name: None if name in ("torch", "peft") else there(name)
    )
    monkeypatch.setitem(sys.modules, "torch", None)  # to import it is an error
    checks = {check.name: check for check in machine.machine_checks(tmp_path)}
    assert checks["training"].state == "problem"
    assert checks["training"].text.startswith(f"needs torch, peft: {install_command('train')};")
    assert "disk" in checks
    assert "threads" not in checks
