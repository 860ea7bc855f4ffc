"""Faults that befall whole runs of the real commands: what they say, and that they go on.

A fault falls before something that the command does to the disk, so that no clock decides.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.reliability.forks import Fault, Forks, begun, results
from tests.reliability.test_exact_resume import COMMANDS

from atlas.machine.shipped import SHIPPED

CHECKPOINT, ROLLOUTS = r"mkdir .*step_000002\.\w+\.partial", r"open .*rollouts/\.step_000002"
METRICS = r"rename .*step_000001\.\w+\.partial"
"""The next thing that is written after the first checkpoint has its place is a line of metrics."""
SIZE = 128 * 2**20


@pytest.fixture(scope="module")
def whole(
    forks: Forks, inputs: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """Job -> what a run of it leaves that nothing befell."""
    found = {}
    for job in ("sft", "grpo"):
        folder = begun(inputs, tmp_path_factory.mktemp("whole") / job)
        assert forks.run(folder, *COMMANDS[job]).code == 0, said(folder)
        found[job] = results(folder)
    return found


def said(folder: Path) -> str:
    return (folder / "output.txt").read_text()


def complaint(folder: Path) -> str:
    """Return the one line that a command ended with; it is the only one, and no traceback."""
    text = said(folder)
    assert "Traceback" not in text
    (line,) = (line for line in text.splitlines() if line.startswith("atlas: "))
    return line


def goes_on(forks: Forks, folder: Path, job: str, expected: dict[str, Any]) -> None:
    """The same command ends as the run that nothing befell."""
    again = forks.run(folder, *COMMANDS[job])
    assert again.code == 0, said(folder)
    assert results(folder) == expected


@pytest.mark.parametrize(
    ("job", "name", "code"), [("sft", "SIGTERM", 143), ("grpo", "SIGINT", 130)]
)
def test_a_signal_ends_a_run_after_its_step(
    job: str, name: str, code: int, forks: Forks, inputs: Path, tmp_path: Path, whole: Any
) -> None:
    folder = begun(inputs, tmp_path / "here")
    fault = Fault(do=name, at=r"mkdir .*step_000001\.\w+\.partial")
    assert forks.run(folder, *COMMANDS[job], faults=[fault]).code == code
    assert "Stopped. The same command goes on" in said(folder)
    log = (folder / "run" / "training.log").read_text()
    assert log.endswith(f"  {job}  stopped by {name}\n")
    goes_on(forks, folder, job, whole[job])
    assert "go on after step 1" in (folder / "run" / "training.log").read_text()


@pytest.mark.parametrize(
    ("job", "at"),
    [("sft", CHECKPOINT), ("sft", METRICS), ("grpo", ROLLOUTS)],
)
def test_where_files_may_be_no_longer_the_last_checkpoint_counts(
    job: str, at: str, forks: Forks, inputs: Path, tmp_path: Path, whole: Any
) -> None:
    """A full disk that needs no disk of its own: from a moment on no file takes another byte."""
    folder = begun(inputs, tmp_path / "here")
    assert forks.run(folder, *COMMANDS[job], faults=[Fault(do="limit 0", at=at)]).code == 3
    assert "ulimit -f" in complaint(folder)
    goes_on(forks, folder, job, whole[job])


@pytest.fixture
def on_a_small_disk(inputs: Path, tmp_path: Path) -> Iterator[Path]:
    """A folder whose run directory is a disk of its own, which a run fits on."""
    folder = begun(inputs, tmp_path / "here")
    disk = folder / "run"
    disk.mkdir()
    words = ("mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(disk))
    mounted = subprocess.run(words, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted ({mounted.stderr.strip()}); the test above needs none")
    yield folder
    subprocess.run(("umount", "--lazy", str(disk)), check=True)


@pytest.mark.parametrize(("job", "at"), [("sft", CHECKPOINT), ("grpo", METRICS)])
def test_a_full_disk_leaves_the_last_checkpoint_and_the_same_command_goes_on(
    job: str, at: str, forks: Forks, on_a_small_disk: Path, whole: Any
) -> None:
    filler = on_a_small_disk / "run" / "filler"
    faults = [Fault(do=f"fill {filler}", at=at)]
    assert forks.run(on_a_small_disk, *COMMANDS[job], faults=faults).code == 3
    assert "the disk is full: run/" in complaint(on_a_small_disk)
    filler.unlink()
    goes_on(forks, on_a_small_disk, job, whole[job])


@pytest.mark.parametrize(("job", "at"), [("sft", METRICS), ("grpo", ROLLOUTS)])
def test_a_run_directory_that_vanishes_is_the_end_and_nothing_of_it_comes_back(
    job: str, at: str, forks: Forks, inputs: Path, tmp_path: Path
) -> None:
    folder = begun(inputs, tmp_path / "here")
    faults = [Fault(do=f"remove {folder / 'run'}", at=at)]
    assert forks.run(folder, *COMMANDS[job], faults=faults).code == 3
    assert f"{folder}/run was removed or moved away while it was written to" in complaint(folder)
    assert not (folder / "run").exists()


@pytest.mark.parametrize("gone", ["model", "traces.jsonl"])
def test_what_a_run_has_read_may_vanish_until_it_is_read_again(
    gone: str, forks: Forks, inputs: Path, tmp_path: Path, whole: Any
) -> None:
    """The student's folder, and the file of tasks: the run ends well; gone on with, it is named."""
    folder = begun(inputs, tmp_path / "here")
    shutil.copytree(SHIPPED["base"], folder / "model")
    words = (*COMMANDS["grpo"], "student_model=model")
    faults = [
        Fault(do=f"remove {folder / gone}", at=ROLLOUTS),
        Fault(do="SIGTERM", at=r"mkdir .*step_000002\.\w+\.partial"),
    ]
    assert forks.run(folder, *words, faults=faults).code == 143
    assert forks.run(folder, "resume", "run").code == 2
    line = complaint(folder)
    assert gone in line
    if gone == "model":
        shutil.copytree(SHIPPED["base"], folder / "model")
    else:
        shutil.copy(inputs / gone, folder / gone)
    assert forks.run(folder, "resume", "run").code == 0, said(folder)
    final = "run/final/model.safetensors"
    assert results(folder)["weights"][final] == whole["grpo"]["weights"][final]


def test_gradients_that_explode_end_a_run_with_their_batches_kept(
    forks: Forks, inputs: Path, tmp_path: Path
) -> None:
    folder = begun(inputs, tmp_path / "here")
    words = (*COMMANDS["sft"], "learning_rate=1e30", "warmup_ratio=0", "num_train_epochs=4")
    assert forks.run(folder, *words).code == 2
    assert "the gradients of 3 steps in a row are not finite" in complaint(folder)
    run = folder / "run"
    kept = sorted(path.name for path in (run / "skipped").iterdir())
    assert len(kept) == 3
    assert (run / "training.log").read_text().count("are not finite; its batch: run/skipped/") == 3
    rows = [json.loads(line) for line in (run / "skipped" / kept[0]).read_text().splitlines()]
    assert len(rows) == 8
    assert all(row["ids"] for row in rows)


def test_one_step_whose_gradients_are_not_finite_is_skipped_and_counted(
    forks: Forks, inputs: Path, tmp_path: Path, whole: Any
) -> None:
    folder = begun(inputs, tmp_path / "here")
    fault = Fault(do="nan", at=r"rename .*step_000001\.\w+\.partial")
    assert forks.run(folder, *COMMANDS["grpo"], faults=[fault]).code == 0, said(folder)
    lines = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert [line.get("train/grad_norm") is None for line in lines] == [False, True, False]
    assert [path.name for path in (folder / "run/skipped").iterdir()] == ["step_000002.jsonl"]
    assert results(folder)["weights"] != whole["grpo"]["weights"]
