"""An update is taken again from what the run kept, and gives what it gave."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet
import pytest
from tests.unit.training.test_grpo import config_for

from atlas.errors import AtlasError
from atlas.report.sample import read_sample, sample_lines
from atlas.run.inputs import write_inputs
from atlas.run.progress import Silent
from atlas.run.rollouts import TOKENS
from atlas.run.run_dir import RunDir
from atlas.run.stopping import StopRequest
from atlas.training.grpo import train_grpo
from atlas.training.replay import replay
from atlas.types import Task


@pytest.mark.parametrize("save_steps", [0, 2])
def test_the_same_update_gives_the_same_chain_and_another_one_does_not(
    tmp_path: Path, model_folder: Path, tasks: list[Task], save_steps: int
) -> None:
    """From the first model, and from a checkpoint."""
    run = RunDir.create(tmp_path / "run", "grpo")
    config = config_for(model_folder, run.path, max_steps=3, save_steps=save_steps)
    train_grpo(run, config, tasks, progress=Silent(), stop=StopRequest())
    found = replay(run, config, 3)
    assert found.same
    assert found.began == ("step_000002" if save_steps else str(model_folder))
    assert found.metrics.get("train/loss") == found.logged.get("train/loss")

    path = run.rollouts / "step_000003.parquet"
    rows = pyarrow.parquet.read_table(path).to_pylist()
    rows[0][TOKENS][0]["ids"][-1] += 1
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    assert not replay(run, config, 3).same


def test_what_cannot_be_replayed_is_said(
    tmp_path: Path, model_folder: Path, tasks: list[Task]
) -> None:
    run = RunDir.create(tmp_path / "run", "grpo")
    config = config_for(model_folder, run.path, max_steps=2, save_steps=0)
    train_grpo(run, config, tasks, progress=Silent(), stop=StopRequest())
    with pytest.raises(AtlasError, match=r"which has steps 1 to 2"):
        replay(run, config, 7)
    (run.rollouts / "step_000001.parquet").unlink()
    with pytest.raises(AtlasError, match="lacks step 1"):
        replay(run, config, 2)
    write_inputs(run.path, {"model_name_or_path": "another"})
    with pytest.raises(AtlasError, match="has changed, and no checkpoint is as old"):
        replay(run, config, 1)


def test_a_sample_is_told_whole(tmp_path: Path, model_folder: Path, tasks: list[Task]) -> None:
    run = RunDir.create(tmp_path / "run", "grpo")
    config = config_for(model_folder, run.path, max_steps=1)
    train_grpo(run, config, tasks, progress=Silent(), stop=StopRequest())
    sample = read_sample(run.path, 1, 5)
    assert (sample.columns["group"], sample.columns["member"]) == (1, 1)
    (row,) = sample.rows
    learned = [token for token in row if token.learned]
    assert 0 < len(learned) <= 6
    assert all(token.logprob < 0 for token in learned)
    assert all(token.logprob == 0 for token in row if not token.learned)
    text = "\n".join(sample_lines(sample, wide=True))
    for piece in ("step 1, group 1, member 1", "student alone:", "reward", "log-probability"):
        assert piece in text, piece
    json.dumps(sample.columns)
    with pytest.raises(AtlasError, match="has samples 0 to 7, and no 8"):
        read_sample(run.path, 1, 8)
