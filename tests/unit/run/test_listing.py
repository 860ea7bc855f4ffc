"""What a run directory tells of how far its run is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from atlas.run.listing import runs_below
from atlas.run.run_dir import RunDir


def stepped(run: RunDir) -> RunDir:
    """Let a run have taken three steps of ten."""
    run.note(run.kind, "3/10  loss 0.5  ETA 0:01:00")
    run.note(run.kind, "warning: in the same second as what follows")
    return run


def test_runs_are_running_finished_stopped_failed_or_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["/bin/atlas", "sft", "x", "db_url=postgresql://me:pw@h/d"])
    finished = RunDir.create("a/finished", "sft")
    finished.finish_stage("sft", {}, 1.0)
    (finished.path / "sft").mkdir()
    (finished.path / "sft" / "run.json").write_text("{}")  # a stage isn't listed by itself
    stepped(RunDir.create("b/stopped", "grpo")).note("grpo", "stopped by SIGTERM")
    stepped(RunDir.create("b/failed", "sft")).note("sft", "ended: the disk is full")
    stepped(RunDir.create("b/paused", "sft")).note("sft", "paused by the doctor")
    stepped(RunDir.create("c/dead", "sft"))
    RunDir.create("d/begun", "ranked")
    Path("e").mkdir()
    Path("e/run.json").write_text("no run of ours")
    running = stepped(RunDir.create("f/running", "sft"))
    with running.lock():
        found = runs_below(Path())
    assert [(run.path, run.kind, run.state, run.goes_on) for run in found] == [
        ("a/finished", "sft", "finished", ""),
        ("b/failed", "sft", "ended by an error at step 3 of 10", "atlas resume b/failed"),
        ("b/paused", "sft", "paused by the doctor at step 3 of 10", "atlas resume b/paused"),
        ("b/stopped", "grpo", "stopped by SIGTERM at step 3 of 10", "atlas resume b/stopped"),
        ("c/dead", "sft", "died at step 3 of 10", "atlas resume c/dead"),
        ("d/begun", "ranked", "begun, and did nothing", found[5].command),
        ("f/running", "sft", "running at step 3 of 10", ""),
    ]
    assert found[0].command == "atlas sft x 'db_url=postgresql://me:***@h/d'"
    assert found[3].last_line.endswith("grpo  stopped by SIGTERM")


def test_a_run_that_kept_no_command_is_listed(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", "sft")
    kept = json.loads((run.path / "run.json").read_text())
    del kept["command"]
    (run.path / "run.json").write_text(json.dumps(kept))
    assert [found.command for found in runs_below(tmp_path)] == [""]
