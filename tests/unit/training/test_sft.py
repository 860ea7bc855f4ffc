"""The SFT loop: it learns, it splits by session, and a stopped run goes on as if it hadn't been."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.unit.training.conftest import StopAfter
from transformers import PreTrainedTokenizerBase

from atlas import prompts
from atlas.checkpoints import load_model
from atlas.config.sft import SFTConfig
from atlas.datasets.chat import Example, make_example
from atlas.errors import AtlasError
from atlas.runtime.progress import Silent
from atlas.runtime.run_dir import RunDir
from atlas.runtime.stopping import Stopped, StopRequest
from atlas.training.sft import train_sft
from atlas.types import Task


@pytest.fixture
def examples(tokenizer: PreTrainedTokenizerBase, tasks: list[Task]) -> list[Example]:
    """Twelve teachings that all say the same."""
    return [
        make_example(
            tokenizer,
            prompts.render("teaching", task=task.question, approach="I guess."),
            "A = 1 + 2. Answer A.",
            source=task.id,
        )
        for task in tasks
    ]


def config_for(model: Path, output: Path, **changed: object) -> SFTConfig:
    """Two epochs of three steps."""
    settings = {
        "model_name_or_path": str(model),
        "output_dir": str(output),
        "learning_rate": 1e-2,
        "num_train_epochs": 2,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
    } | changed
    return SFTConfig(**settings)  # pyright: ignore[reportArgumentType]


def test_it_learns_and_a_stopped_run_ends_with_the_same_weights(
    tmp_path: Path, model_folder: Path, examples: list[Example]
) -> None:
    straight = RunDir.create(tmp_path / "straight", "sft")
    config = config_for(model_folder, straight.path)
    figures = train_sft(
        straight, config, examples, examples[:2], progress=Silent(), stop=StopRequest()
    )
    assert figures["steps"] == 6
    assert figures["eval_loss"] < 0.7 * figures["eval_loss_before"]

    broken = RunDir.create(tmp_path / "broken", "sft")
    config = config_for(model_folder, broken.path)
    stop = StopRequest()
    with pytest.raises(Stopped):
        train_sft(broken, config, examples, [], progress=StopAfter(stop, 4), stop=stop)
    train_sft(broken, config, examples, [], progress=Silent(), stop=StopRequest())
    expected = load_model(straight.final).state_dict()
    for name, tensor in load_model(broken.final).state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    lines = [json.loads(line) for line in broken.metrics.read_text().splitlines()]
    assert [line["step"] for line in lines if "train/loss" in line] == [1, 2, 3, 4, 5, 6]


def test_an_adapter_learns_and_a_stopped_run_ends_with_the_same_one(
    tmp_path: Path, model_folder: Path, examples: list[Example]
) -> None:
    adapter = {"use_peft": True, "lora_r": 4, "lora_alpha": 8, "lora_dropout": 0.2}
    straight = RunDir.create(tmp_path / "straight", "sft")
    config = config_for(model_folder, straight.path, gradient_checkpointing=True, **adapter)
    figures = train_sft(
        straight, config, examples, examples[:2], progress=Silent(), stop=StopRequest()
    )
    assert figures["eval_loss"] < 0.9 * figures["eval_loss_before"]
    assert "adapter: 4,352 of 34,592 weights are trained (12.58%)" in straight.log.read_text()

    broken = RunDir.create(tmp_path / "broken", "sft")
    config = config_for(model_folder, broken.path, **adapter)
    stop = StopRequest()
    with pytest.raises(Stopped):
        train_sft(broken, config, examples, [], progress=StopAfter(stop, 4), stop=stop)
    (checkpoint,) = broken.checkpoints.iterdir()
    assert (checkpoint / "adapter_model.safetensors").is_file()
    assert not (checkpoint / "model.safetensors").exists()
    train_sft(broken, config, examples, [], progress=Silent(), stop=StopRequest())
    expected = load_model(straight.final).state_dict()
    for name, tensor in load_model(broken.final).state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    start, end = load_model(model_folder).state_dict(), load_model(straight.final).state_dict()
    changed = {name for name, tensor in start.items() if not torch.equal(tensor, end[name])}
    assert len(changed) == 2 * 7  # every projection of two layers, and nothing else


def test_nothing_to_learn_from_is_said(tmp_path: Path, model_folder: Path) -> None:
    run = RunDir.create(tmp_path / "run", "sft")
    config = config_for(model_folder, run.path)
    with pytest.raises(AtlasError, match=r"min_reward 0\.8 and status succeeded"):
        train_sft(run, config, [], [], progress=Silent(), stop=StopRequest())
