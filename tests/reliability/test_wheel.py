"""The wheel, built and installed, does the work from an empty folder: nothing stays in the tree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = (
    *("collect_tasks=24", "eval_tasks=4", "sft_num_train_epochs=1", "grpo_max_steps=1"),
    "grpo_canary_tasks=0",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    words = ("-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder))
    subprocess.run([sys.executable, *words, str(ROOT)], check=True, timeout=300)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel; what it needs is lent by this one."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    words = ("-m", "pip", "--python", str(python), "install", "-q", "--no-deps", str(wheel))
    subprocess.run([sys.executable, *words], check=True, timeout=300)
    own = folder / "lib" / Path(sysconfig.get_path("purelib")).parent.name / "site-packages"
    lent = [path for path in sys.path if path.endswith("site-packages")]
    (own / "lent.pth").write_text("\n".join(lent) + "\n")
    return folder / "bin"


def atlas(installed: Path, folder: Path, *words: str) -> str:
    """Run the installed command and return what it printed."""
    done = subprocess.run(
        [str(installed / "atlas"), *words],
        cwd=folder,
        env={**{n: v for n, v in os.environ.items() if n != "PYTHONPATH"}, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith("/METADATA"))
        text = archive.read(metadata).decode()
    assert "License-Expression: MIT" in text
    assert "\n# Atlas\n" in text
    assert any(name.endswith("licenses/LICENSE") for name in names)
    here = {path.relative_to(ROOT) for path in (ROOT / "configs").rglob("*") if path.is_file()}
    assert {f"atlas/{path}" for path in here} <= set(names)


def test_the_quickstart_runs_from_an_empty_folder(installed: Path, server_folder: Path) -> None:
    place = installed.parent / "lib"
    found = subprocess.run(
        [str(installed / "python"), "-c", "import atlas; print(atlas.__file__)"],
        cwd=server_folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(found.stdout.strip()).is_relative_to(place)  # and not the tree
    said = atlas(installed, server_folder, "quickstart", *QUICKSTART)
    assert "student." in said
    assert (server_folder / "results" / "rl_checkpoint" / "pytorch_model.bin").is_file()
    (run,) = json.loads(atlas(installed, server_folder, "runs", "--json"))
    assert (run["kind"], run["state"]) == ("quickstart", "finished")
    literal = ("train", "configs/run/teacher_sft.yaml", "--dry-run", "data=runtime_traces")
    more = ("export_path=none.jsonl", "model_name_or_path=base")
    assert "configs/run/teacher_sft.yaml" in atlas(installed, server_folder, *literal, *more)
