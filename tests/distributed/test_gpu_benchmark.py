"""What waits for a GPU runs to its end on a CPU, tiny, section by section."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_section_runs_and_finds_what_it_must(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    command = [sys.executable, "benchmarks/gpu.py", "--tiny", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = json.loads(out.read_text())
    errors = {name: one["error"] for name, one in found.items() if "error" in one}
    assert (done.returncode, errors) == (0, {}), done.stderr[-2000:]
    forward, compiled = found["forward"], found["compile"]
    assert forward["prompts are shared"]
    assert forward["KL of the first step"] == 0
    assert forward["difference of gradients"] < 1e-5
    assert compiled["said"].startswith("torch_compile: 2 layers compiled")
    assert found["fsdp"]["train/grad_norm"] > 0


def test_a_section_that_isnt_there_is_told(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/gpu.py", "fowrard", "--tiny"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "there is no section fowrard; there are forward, projection" in done.stderr
