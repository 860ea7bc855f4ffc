"""The scripts at the top of the checkout, run by a Python that has no Atlas, or somebody else's."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.unit.data.sources.recorded import recorded
from typer.testing import CliRunner

from atlas.cli import faults
from atlas.cli.app import app
from atlas.installing import TRAIN, install_command
from atlas.traces.postgres.writing import write_sessions

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
    # Data are prepared without what a training needs.
    place = tmp_path if script == "prepare_grpo_data.py" else f"'{tmp_path}[train]'"
    wanted = f"atlas: Atlas isn't here; run: {sys.executable} -m pip install -e {place}\n"
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


# Atlas without its extra ``train``: a Python that finds none of what only that brings.

_HIDE = """\
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hidden())
"""


@dataclass(frozen=True)
class LightAtlas:
    """A folder to work in, and Atlas as it is installed without an extra."""

    folder: Path

    def python(self, *words: str) -> subprocess.CompletedProcess[str]:
        paths = [str(self.folder / "hidden"), str(ROOT / "src")]
        return subprocess.run(
            [sys.executable, *words],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def atlas(self, *words: str) -> str:
        done = self.python("-m", "atlas", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def light(tmp_path: Path) -> LightAtlas:
    (tmp_path / "hidden").mkdir()
    hidden = tmp_path / "hidden" / "sitecustomize.py"
    hidden.write_text(_HIDE.format(hidden=set(TRAIN)))
    return LightAtlas(tmp_path)


def test_data_are_prepared_and_a_model_is_asked_without_pytorch(light: LightAtlas) -> None:
    script = str(ROOT / "prepare_grpo_data.py")
    done = light.python(script, "--size", "6", "--validation-size", "2")
    assert done.returncode == 0, done.stderr
    assert len(json.loads((light.folder / "data" / "grpo_training.json").read_text())) == 6
    model = str(light.folder / "model")
    CliRunner().invoke(app, ["export", "base", "--format", "pkl", "--output", model])
    assert light.atlas("ask", model, "Calculate 2 + 3.", "--max-new-tokens", "4").strip()


def test_traces_are_read_without_pytorch(light: LightAtlas, fresh_db_url: str) -> None:
    write_sessions(fresh_db_url, [recorded(1), recorded(2)])
    light.atlas("export", "--database-url", fresh_db_url, "--output", "traces.jsonl")
    assert len((light.folder / "traces.jsonl").read_text().splitlines()) == 2
    code = "from atlas.training_data import get_training_sessions as get\n"
    code += f"print(len(get({fresh_db_url!r})))"
    assert light.python("-c", code).stdout == "2\n"


@pytest.mark.parametrize("command", ["quickstart", "base-model", "collect", "selftest"])
def test_what_trains_says_the_one_command_and_begins_nothing(
    light: LightAtlas, command: str
) -> None:
    done = light.python("-m", "atlas", command)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("atlas: this needs torch, which isn't installed")
    assert done.stderr.endswith(f"; run: {install_command('train')}\n")
    assert [path.name for path in light.folder.iterdir()] == ["hidden"]


def test_the_extra_has_what_is_missing_without_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    modules = {"protobuf": "google"}
    names = [re.split(r"[\[>]", each)[0] for each in project["optional-dependencies"]["train"]]
    assert {modules.get(name, name) for name in names} == TRAIN
