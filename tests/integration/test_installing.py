"""The scripts at the top of the checkout, run by a Python that has no Atlas, or somebody else's."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from atlas.cli import faults
from atlas.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ("prepare_grpo_data.py", "train_atlas.py", "train.py", "trainers/vllm_server.py")


def run_alone(folder: Path, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a copy of a script without a .venv beside it, by a Python without site-packages."""
    copy = folder / script
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / script, copy)
    return subprocess.run(
        [sys.executable, "-S", str(copy)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=60,
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_without_atlas_a_script_says_the_one_command(tmp_path: Path, script: str) -> None:
    done = run_alone(tmp_path, script)
    assert done.returncode == 2
    wanted = f"atlas: Atlas isn't here; run: {sys.executable} -m pip install -e {tmp_path}\n"
    assert done.stderr == wanted


def test_the_module_of_the_sdk_is_not_taken_for_atlas(tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "atlas"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("raise SystemExit('the SDK was imported')\n")
    done = run_alone(tmp_path, "train_atlas.py", PYTHONPATH=str(other.parent))
    assert "Atlas isn't here" in done.stderr


def test_an_install_that_the_sdk_has_overwritten_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "personas").mkdir()
    monkeypatch.setattr("atlas.__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(SystemExit) as ended:
        faults.run(app, ["--help"])
    assert ended.value.code == 2
    assert "give each an environment of its own" in capsys.readouterr().err


def test_doctor_tells_of_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "atlas.machine.checks._version", lambda name: "0.1.16" if name == "arc-atlas" else "1"
    )
    said = CliRunner().invoke(app, ["doctor"])
    assert said.exit_code == 1
    assert "arc-atlas 0.1.16 is in this environment" in said.output
