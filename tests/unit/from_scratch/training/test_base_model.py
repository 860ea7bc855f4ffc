"""The base model's training: what it is fed, and that an interrupted run is the same run."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from tests.unit.conftest import StopAfter

from atlas.config.base_model import BaseModelConfig
from atlas.from_scratch.training import base_model
from atlas.from_scratch.training.base_model import train_base_model
from atlas.models.checkpoints import load_model, load_tokenizer
from atlas.run.progress import Silent
from atlas.run.run_dir import RunDir
from atlas.run.stopping import Stopped, StopRequest
from atlas.types import task_id


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_model, "_SHARD_ROWS", 64)


def config_for(output: Path) -> BaseModelConfig:
    """Four small steps."""
    return BaseModelConfig(
        output_dir=str(output), max_steps=4, tokens_per_step=512, logging_steps=1, save_steps=0
    )


def test_an_interrupted_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    straight = RunDir.create(tmp_path / "straight", "base_model")
    figures = train_base_model(
        straight, config_for(straight.path), progress=Silent(), stop=StopRequest()
    )
    broken = RunDir.create(tmp_path / "broken", "base_model")
    config = config_for(broken.path)
    stop = StopRequest()
    with pytest.raises(Stopped):
        train_base_model(broken, config, progress=StopAfter(stop, 2), stop=stop)
    again = train_base_model(broken, config, progress=Silent(), stop=StopRequest())
    assert again["sha256"] == figures["sha256"]
    assert figures["shipped_sha256"] != figures["sha256"]
    first, second = load_model(straight.final), load_model(broken.final)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name
    assert load_tokenizer(broken.final).eos_token == "<|end|>"


def test_no_held_out_task_is_in_the_corpus(tmp_path: Path) -> None:
    dialogues = base_model._dialogues(config_for(tmp_path), "training")
    ids = [task_id(d.fields["task"]) for d in itertools.islice(dialogues, 500)]
    assert max(int(found, 16) / 16**16 for found in ids) < 0.9
