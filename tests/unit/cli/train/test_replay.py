"""``atlas replay``: what it refuses before it loads anything."""

from __future__ import annotations

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from atlas.cli.train.replay import app
from atlas.errors import AtlasError
from atlas.run.run_dir import RunDir


def test_a_run_of_two_processes_names_the_command_that_starts_as_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = RunDir.create("run", "grpo")
    run.config.write_text(
        "output_dir: run\nprompts_per_step: 8\nper_device_train_batch_size: 2\n"
        "gradient_accumulation_steps: 2\n"
    )
    run.rollouts.mkdir()
    pyarrow.parquet.write_table(pyarrow.table({"step": [1]}), run.rollouts / "step_000001.parquet")
    done = CliRunner().invoke(app, ["run", "1"])
    assert isinstance(done.exception, AtlasError)
    assert str(done.exception) == (
        "run was trained by 2 process(es), this is 1, whose sums differ; run: "
        "torchrun --nproc-per-node 2 -m atlas replay run 1"
    )
