from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from atlas.errors import AtlasError
from atlas.run import files
from atlas.run.progress import Silent
from atlas.run.run_dir import LAYOUT_VERSION, RunDir

HOLD_LOCK = """
import sys
from atlas.run import files
from atlas.run.run_dir import RunDir
with RunDir.open(sys.argv[1]).lock():
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_new_run_directory_says_what_it_is(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "runs" / "q", "quickstart")
    written = json.loads((run.path / "run.json").read_text())
    assert (written["layout_version"], written["kind"]) == (LAYOUT_VERSION, "quickstart")
    assert RunDir.open(run.path) == run


def test_create_goes_on_with_what_is_there(tmp_path: Path) -> None:
    RunDir.create(tmp_path, "sft").finish_stage("collect", {"sessions": 3}, 1.5)
    run = RunDir.create(tmp_path, "sft")
    assert run.stage_done("collect")
    assert not run.stage_done("sft")
    assert run.stage_summary("collect") == {"sessions": 3}
    assert run.stage_summary("sft") == {}
    record = json.loads((tmp_path / "stages" / "collect.json").read_text())
    assert (record["stage"], record["seconds"]) == ("collect", 1.5)


def test_fresh_deletes_what_an_earlier_run_left(tmp_path: Path) -> None:
    keep = tmp_path / "elsewhere"
    keep.mkdir()
    (keep / "precious").touch()
    run = RunDir.create(tmp_path / "run", "sft")
    run.finish_stage("collect", {}, 1.0)
    (run.path / "link").symlink_to(keep)
    again = RunDir.create(run.path, "sft", fresh=True)
    assert not again.stage_done("collect")
    with again.lock():
        again.finish_stage("read", {}, 1.0)
        left = [".lock", "run.json", "stages", "training.log"]
        assert sorted(p.name for p in run.path.iterdir()) == left
    assert [p.name for p in (run.path / "stages").iterdir()] == ["read.json"]
    assert (keep / "precious").exists()


def finished(path: Path) -> dict[str, str]:
    """Make a finished run; return its files."""
    run = RunDir.create(path, "sft")
    run.config.write_text("seed: 1")
    run.metrics.write_text("step 1")
    run.finish_stage("sft", {}, 1.0)
    return texts(path)


def texts(path: Path) -> dict[str, str]:
    found = (file for file in sorted(path.rglob("*")) if file.is_file() and file.name != ".lock")
    return {str(file.relative_to(path)): file.read_text() for file in found}


def test_an_earlier_run_is_as_it_was_where_a_fresh_one_is_refused(tmp_path: Path) -> None:
    before = finished(tmp_path)
    run = RunDir.create(tmp_path, "sft", fresh=True)
    assert not run.stage_done("sft")
    run.config.write_text("seed: 2")
    run.note("sft", "start")
    with pytest.raises(AtlasError, match="no session"), run.lock():
        raise AtlasError("no session")
    assert texts(tmp_path) == before


def test_an_earlier_run_goes_once_a_fresh_one_has_done_something(tmp_path: Path) -> None:
    finished(tmp_path)
    run = RunDir.create(tmp_path, "sft", fresh=True)
    run.metrics.write_text("a step")
    with pytest.raises(AtlasError, match="the disk is full"), run.lock():
        raise AtlasError("the disk is full")
    assert texts(tmp_path).keys() == {"run.json", "metrics.jsonl"}


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("moved", range(1, 5))
def test_a_fresh_run_that_was_killed_at_once_gives_the_earlier_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: int, fresh: bool
) -> None:
    """In the midst of moving it away, or after it."""
    before = finished(tmp_path)
    replace, left = Path.replace, [moved]

    def killed(self: Path, target: Path) -> Path:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    if moved < 4:
        with pytest.raises(KeyboardInterrupt):
            RunDir.create(tmp_path, "sft", fresh=True)
    monkeypatch.undo()
    if moved == 4:
        RunDir.create(tmp_path, "sft", fresh=True).config.write_text("seed: 2")
    assert RunDir.create(tmp_path, "sft", fresh=fresh).stage_done("sft") is not fresh
    with RunDir.open(tmp_path).lock():
        pass
    assert texts(tmp_path) == before


def test_a_run_that_did_nothing_with_its_settings_takes_others(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", "sft")
    run.config.write_text("seed: 1")
    run.lineage.write_text("{}")
    again = RunDir.create(tmp_path / "run", "sft")
    assert not again.config.exists()
    assert not again.lineage.exists()
    again.config.write_text("seed: 2")
    again.metrics.write_text("step 1")
    assert RunDir.create(tmp_path / "run", "sft").config.read_text() == "seed: 2"
    # Somebody may be at it, before the first step.
    again.metrics.unlink()
    with again.lock(), pytest.raises(AtlasError, match="is in use by process"):
        RunDir.create(tmp_path / "run", "sft")
    assert again.config.read_text() == "seed: 2"


def test_what_the_student_answered_is_kept_for_the_settings_that_follow(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", "grpo")
    run.config.write_text("seed: 1")
    run.student_alone.mkdir()
    (run.student_alone / "a.jsonl").write_text("{}")
    again = RunDir.create(tmp_path / "run", "grpo")
    assert not again.config.exists()
    assert [file.name for file in again.student_alone.iterdir()] == ["a.jsonl"]
    fresh = RunDir.create(tmp_path / "run", "grpo", fresh=True)
    assert not fresh.student_alone.exists()


@pytest.mark.parametrize("fresh", [False, True])
def test_a_folder_with_something_else_is_left_alone(tmp_path: Path, fresh: bool) -> None:
    (tmp_path / "thesis.tex").write_text("all my work")
    with pytest.raises(AtlasError, match="holds files but isn't a run directory of Atlas"):
        RunDir.create(tmp_path, "sft", fresh=fresh)
    assert (tmp_path / "thesis.tex").read_text() == "all my work"


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("content", ["{}", '{"kind": "sft"}', '{"kind": 1, "layout_version": 1}'])
def test_a_run_json_of_somebody_else_is_left_alone(
    tmp_path: Path, content: str, fresh: bool
) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(AtlasError, match="isn't a run directory of Atlas"):
        RunDir.create(tmp_path, "sft", fresh=fresh)
    assert (tmp_path / "run.json").read_text() == content


@pytest.mark.parametrize("fresh", [False, True])
def test_a_folder_of_another_job_is_left_alone(tmp_path: Path, fresh: bool) -> None:
    RunDir.create(tmp_path, "sft").finish_stage("sft", {}, 1.0)
    with pytest.raises(AtlasError, match="belongs to the job sft, not grpo; choose another"):
        RunDir.create(tmp_path, "grpo", fresh=fresh)
    assert RunDir.open(tmp_path).stage_done("sft")


def test_another_layout_version_is_named_and_can_be_replaced(tmp_path: Path) -> None:
    old = {"layout_version": 99, "kind": "sft", "atlas_version": "9.9"}
    (tmp_path / "run.json").write_text(json.dumps(old))
    message = r"layout version 99 \(Atlas 9.9\), but Atlas .* reads version 1; .* --fresh"
    with pytest.raises(AtlasError, match=message):
        RunDir.create(tmp_path, "sft")
    assert RunDir.create(tmp_path, "sft", fresh=True) == RunDir.open(tmp_path)


def test_what_cannot_be_a_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AtlasError, match="file is a file; choose another output_dir"):
        RunDir.create(tmp_path / "file", "sft")
    with pytest.raises(AtlasError, match=r"file/run can't be written: Not a directory"):
        RunDir.create(tmp_path / "file" / "run", "sft")
    with pytest.raises(AtlasError, match=r"run directory .*nowhere isn't there"):
        RunDir.open(tmp_path / "nowhere")


def test_a_broken_run_json_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(AtlasError, match=r"run.json can't be read as JSON"):
        RunDir.create(tmp_path, "sft")


def test_hidden_files_do_not_make_a_folder_somebodys(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").touch()
    assert RunDir.create(tmp_path, "sft").kind == "sft"


def test_a_run_directory_within_one_is_of_its_own_kind(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, "quickstart")
    assert run.sub("grpo") == RunDir.open(tmp_path / "grpo", "grpo")


def test_one_process_at_a_time(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, "sft")
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(tmp_path)],
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[3] / "src")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "locked\n"
    try:
        with pytest.raises(AtlasError, match=f"in use by process {other.pid}; wait"), run.lock():
            pass
        with pytest.raises(AtlasError, match=f"in use by process {other.pid}; wait"):
            RunDir.create(tmp_path, "sft", fresh=True)
    finally:
        other.kill()
        other.communicate()
    with run.lock():
        assert (tmp_path / ".lock").read_text() != str(other.pid)


def test_a_failure_under_the_lock_passes_and_lets_go(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, "sft")
    with pytest.raises(ZeroDivisionError), run.lock():
        _ = 1 / 0
    with run.lock():
        pass


@pytest.mark.parametrize("make", [Path.symlink_to, Path.hardlink_to])
def test_a_lock_that_is_another_file_is_refused_and_that_file_left_alone(
    make: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("keep me")
    run = RunDir.create(tmp_path / "run", "sft")
    make(run.path / ".lock", precious)

    with pytest.raises(AtlasError, match=r"run/\.lock"), run.lock():
        pass
    assert precious.read_text() == "keep me"


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EROFS, "Read-only file system"),
        (errno.EACCES, "Permission denied"),
    ],
)
def test_a_disk_that_takes_no_lock_is_said_in_one_line(
    number: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDir.create(tmp_path / "run", "sft")

    def refuse(path: Path, *arguments: object) -> int:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(files.os, "open", refuse)
    with pytest.raises(AtlasError, match=says), run.lock():
        pass


def test_a_disk_without_locks_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handle: int, mode: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    run = RunDir.create(tmp_path / "run", "sft")
    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(AtlasError, match="can't lock files"), run.lock():
        pass


def test_what_a_killed_run_was_writing_goes_with_the_next_lock(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", "sft")
    table = run.rollouts / ".step_000003.parquet.abc.tmp"
    model = run.checkpoints / ".step_000004.partial" / "config.json"
    only_one = run.checkpoints / ".best.old" / "config.json"
    replaced, its_place = run.path / ".final.old" / "a", run.final / "a"
    for path in (table, model, only_one, replaced, its_place):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with run.lock():
        assert not table.exists()
        assert not model.parent.exists()
        assert only_one.exists()
        assert not replaced.parent.exists()
        assert its_place.exists()


def test_what_is_told_is_shown_and_stays_in_the_log(tmp_path: Path) -> None:
    shown: list[str] = []

    class Shown(Silent):
        def say(self, line: str) -> None:
            shown.append(line)

    run = RunDir.create(tmp_path / "run", "sft", fresh=False)
    run.teller("sft", Shown())("prompts: those of before")
    assert shown == ["prompts: those of before"]
    assert run.log.read_text().endswith("  sft  prompts: those of before\n")


def test_a_run_that_is_refused_before_it_did_anything_leaves_nothing(tmp_path: Path) -> None:
    def work(run: RunDir, step: bool) -> None:
        with run.lock():
            run.config.write_text("seed: 1\n")
            if step:
                run.metrics.write_text("{}\n")
            raise AtlasError("no")

    def refused(path: Path, *, step: bool = False) -> None:
        run = RunDir.create(path, "sft")
        with pytest.raises(AtlasError):
            work(run, step)

    refused(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "there").mkdir()
    refused(tmp_path / "there")
    assert (tmp_path / "there").is_dir()
    refused(tmp_path / "trained", step=True)
    assert (tmp_path / "trained" / "metrics.jsonl").exists()
