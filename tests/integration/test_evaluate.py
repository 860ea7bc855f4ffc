"""``atlas evaluate`` as a user runs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save
from typer.testing import CliRunner

from atlas.cli.app import app
from atlas.errors import AtlasError
from atlas.machine.shipped import model_path

SIZES = ["families=[leg_counting]", "num_tasks=4", "max_new_tokens=24", "student_max_new_tokens=64"]


def evaluate(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "atlas", "evaluate", *words],
        cwd=folder,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def trained() -> bytes:
    """Return the weights of the base model, a little changed."""
    weights = load_file(Path(model_path("base")) / "model.safetensors")
    return save({name: 1.01 * tensor for name, tensor in weights.items()})


def test_a_teacher_is_measured_and_the_same_command_shows_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = evaluate(tmp_path, "base", *SIZES)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "evaluate"
    claims = json.loads((run / "eval" / "claims.json").read_text())
    assert claims["num_tasks"] == 4
    assert len((run / "eval" / "pairs.jsonl").read_text().splitlines()) == 4
    assert "leg" in (run / "report.html").read_text()
    assert "Teaching efficiency" in done.stdout

    written = (run / "eval" / "claims.json").stat().st_mtime_ns
    again = evaluate(tmp_path, "base", *SIZES)
    assert again.returncode == 0, again.stderr
    assert "Teaching efficiency" in again.stdout
    assert (run / "eval" / "claims.json").stat().st_mtime_ns == written

    # In this process: a command's start is mostly imports.
    monkeypatch.chdir(tmp_path)
    shutil.copytree(model_path("base"), "base")  # a folder of that name comes first
    Path("base", "model.safetensors").write_bytes(trained())
    Path("base", "manifest.json").unlink()
    changed = CliRunner().invoke(app, ["evaluate", "base", *SIZES])
    assert changed.exit_code == 0, changed.exception
    assert "all is measured anew: student, teacher base changed" in changed.output
    assert (run / "eval" / "claims.json").stat().st_mtime_ns > written
    other = CliRunner().invoke(app, ["evaluate", "base", *SIZES, "seed=5"])
    assert isinstance(other.exception, AtlasError)
    assert "begun with other settings (seed was " in str(other.exception)


def test_a_teacher_that_is_not_there_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["evaluate", "./nowhere"])
    assert isinstance(done.exception, AtlasError)
    (line,) = str(done.exception).splitlines()
    assert "no model can be loaded from './nowhere': there is no such folder" in line
    assert not (tmp_path / "runs").exists()
