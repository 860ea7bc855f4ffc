from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from atlas.cli.train.launch import checked, visible_gpus
from atlas.errors import AtlasError

ROOT = Path(__file__).resolve().parents[4]
SFT = "configs/run/teacher_sft.yaml"


@pytest.fixture(autouse=True)
def _no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.mark.parametrize(
    ("number", "source", "overrides", "message"),
    [
        ("0", SFT, [], "'0' is no number of processes"),
        ("-2", SFT, [], "'-2' is no number of processes"),
        ("two", SFT, [], "'two' is no number of processes"),
        ("1", "configs/run/none.yaml", [], r"config file configs/run/none\.yaml isn't there"),
        ("1", SFT, ["learning_rat=1"], "did you mean 'learning_rate'"),
        ("2", "configs/run/quickstart.yaml", [], "the job quickstart runs in one process"),
    ],
)
def test_what_is_wrong_is_found_before_anything_starts(
    number: str, source: str, overrides: list[str], message: str
) -> None:
    with pytest.raises(AtlasError, match=message):
        checked(number, source, overrides)


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    assert checked("1", SFT, []) == 1
    monkeypatch.setattr("atlas.cli.train.train.DISTRIBUTED", ("sft",))
    assert checked("2", SFT, []) == 2
    with pytest.raises(AtlasError, match="4 processes need 4 GPUs, but 2 can be seen"):
        checked("4", SFT, [])


def test_gpus_are_counted_without_torch(tmp_path: Path) -> None:
    lister = tmp_path / "nvidia-smi"
    lister.write_text("#!/bin/sh\necho 'GPU 0: A (UUID: a)'\necho 'GPU 1: A (UUID: b)'\n")
    lister.chmod(0o755)
    path = f"{tmp_path}:/bin:/usr/bin"
    assert visible_gpus({"PATH": path}) == 2
    assert visible_gpus({"PATH": path, "CUDA_VISIBLE_DEVICES": "1"}) == 1
    assert visible_gpus({"PATH": path, "CUDA_VISIBLE_DEVICES": ""}) == 0
    assert visible_gpus({"PATH": "/nowhere"}) == 0


def test_the_script_says_one_line_and_loads_no_torch() -> None:
    code = "import sys; sys.argv[1:] = sys.argv[2:]; from atlas.cli.app import main\n" + (
        "try: main()\nfinally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "-", "launch", "x", SFT],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("atlas: 'x' is no number of processes")
    assert done.stderr.count("\n") == 1
