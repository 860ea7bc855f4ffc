from __future__ import annotations

import json
import platform
from pathlib import Path

import torch

from atlas.run.environment import environment_now
from atlas.run.run_dir import RunDir


def test_a_run_says_what_it_was_made_with(tmp_path: Path) -> None:
    found = environment_now()
    assert found["python"] == platform.python_version()
    assert found["torch"] == torch.__version__
    assert found["processor"]
    assert all(isinstance(text, str) and text for text in found.values())
    run = RunDir.create(tmp_path / "run", "sft")
    assert json.loads((run.path / "run.json").read_text())["environment"] == found
