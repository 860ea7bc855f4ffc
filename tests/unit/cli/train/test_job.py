"""A training is planned before it loads: what is chosen goes to the log, what can't fit ends it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from atlas.cli.app import app
from atlas.cli.train import job
from atlas.config import SFTConfig, load_config
from atlas.errors import AtlasError, OutageError
from atlas.planning import memory_plan


def sft(*words: str) -> SFTConfig:
    return load_config(SFTConfig, "teacher_sft", ["model_name_or_path=base", *words])


def test_the_plan_is_that_of_the_machine_that_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_plan, "cgroup_room", lambda: 10**9)
    plan = job.planned(sft(), 1)
    assert plan is not None
    assert plan.limit == 10**9
    assert plan.limit_is == "free in this container's memory"
    assert plan.chosen == {"engine": "plain", "gradient_checkpointing": True}


def test_what_cannot_fit_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_plan, "cgroup_room", lambda: 5 * 10**8)
    folder, traces = tmp_path / "run", tmp_path / "traces.jsonl"
    traces.touch()
    words = ["teacher_sft", "model_name_or_path=base", "data=runtime_traces"]
    words += [f"export_path={traces}", f"output_dir={folder}"]
    error = CliRunner().invoke(app, ["sft", *words]).exception
    assert isinstance(error, AtlasError)
    assert error.exit_code == 2
    assert "but 0.5 GB is free in this container's memory" in str(error)
    assert not folder.exists()


def test_a_model_of_unknown_shape_is_not_planned(tmp_path: Path) -> None:
    assert job.planned(sft(f"model_name_or_path={tmp_path}"), 1) is None


def test_memory_that_runs_out_is_told_beside_the_plan() -> None:
    plan = job.planned(sft(), 1)
    told = r"used up: planned \d\.\d GB of \S+, reached 0\.0 \("
    with pytest.raises(OutageError, match=told), job.beside(plan):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    with pytest.raises(torch.OutOfMemoryError), job.beside(None):
        raise torch.OutOfMemoryError
