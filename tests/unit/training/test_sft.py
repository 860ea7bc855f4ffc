"""The SFT loop: it learns, it splits by session, and a stopped run goes on as if it hadn't been."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.unit.conftest import StopAfter
from transformers import PreTrainedTokenizerBase

from atlas.config.sft import SFTConfig
from atlas.data.chat import make_example
from atlas.errors import AtlasError
from atlas.models.checkpoints import load_model
from atlas.parallel.engine.plain import PlainEngine
from atlas.prompts.folder import shipped_prompts
from atlas.run.progress import Silent
from atlas.run.run_dir import RunDir
from atlas.run.stopping import Stopped, StopRequest
from atlas.training.sft import num_steps, train_sft
from atlas.training.supervised import evaluation_loss
from atlas.types import Task, Tokens


@pytest.fixture
def examples(tokenizer: PreTrainedTokenizerBase, tasks: list[Task]) -> list[Tokens]:
    """Twelve teachings that all say the same."""
    return [
        make_example(
            tokenizer,
            shipped_prompts("plain").render("teaching", task=task.question, approach="I guess."),
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
    tmp_path: Path, model_folder: Path, examples: list[Tokens]
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


def test_final_is_the_best_of_all_measured_after_an_interruption_too(
    tmp_path: Path, model_folder: Path, examples: list[Tokens]
) -> None:
    """It learns the first examples by heart at a rate that makes the held-out ones worse."""
    changed = {"learning_rate": 0.05, "eval_steps": 1, "save_steps": 1, "max_grad_norm": 100.0}
    held = [
        Tokens(ids=(*e.ids[:start], 200, 201, 202), trained=((start, start + 3),))
        for e in examples[:2]
        for start in (e.trained[0][0],)
    ]
    runs = []
    for name, stops_after in (("straight", 99), ("broken", 4)):
        run = RunDir.create(tmp_path / name, "sft")
        config = config_for(model_folder, run.path, **changed)
        stop = StopRequest()
        try:
            progress = StopAfter(stop, stops_after)
            figures = train_sft(run, config, examples, held, progress=progress, stop=stop)
        except Stopped:
            stop = StopRequest()
            figures = train_sft(run, config, examples, held, progress=Silent(), stop=stop)
        runs.append((run, figures))
    (straight, figures), (broken, others) = runs
    losses = {
        line["step"]: line["eval/loss"]
        for line in map(json.loads, straight.metrics.read_text().splitlines())
        if "eval/loss" in line
    }
    assert list(losses) == [0, 1, 2, 3, 4, 5, 6]
    best = min(range(1, 7), key=losses.__getitem__)
    assert best < 6
    assert figures["best_step"] == others["best_step"] == best
    assert figures["eval_loss"] == others["eval_loss"] == losses[best]
    left, right = (load_model(run.final) for run in (straight, broken))
    engine = PlainEngine(left, learning_rate=0.1, total_steps=1)
    assert evaluation_loss(engine, held, batch_size=2) == pytest.approx(losses[best], rel=1e-5)
    for name, tensor in left.state_dict().items():
        assert torch.equal(tensor, right.state_dict()[name]), name
    assert f"final/ is step {best} of 6, the lowest eval loss" in broken.log.read_text()
    assert (straight.checkpoints / "best").is_dir()  # a kill before the end must not lose it
    assert (straight.final / "pytorch_model.bin").is_file()


def test_the_guides_name_is_written_where_its_names_are_wanted(
    tmp_path: Path, model_folder: Path, examples: list[Tokens]
) -> None:
    config = config_for(model_folder, tmp_path / "run", results_dir=None, num_train_epochs=0.2)
    run = RunDir.create(config.output_dir, "sft")
    train_sft(run, config, examples, [], progress=Silent(), stop=StopRequest())
    assert (run.final / "model.safetensors").is_file()
    assert not (run.final / "pytorch_model.bin").exists()


def test_packed_rows_learn_in_fewer_steps(
    tmp_path: Path, model_folder: Path, examples: list[Tokens]
) -> None:
    """Four of the twelve examples fit into a row, and a step takes four rows."""
    length = 4 * max(len(example.ids) for example in examples)
    run = RunDir.create(tmp_path / "run", "sft")
    config = config_for(
        model_folder, run.path, packing=True, max_seq_length=length, num_train_epochs=8
    )
    figures = train_sft(run, config, examples, examples[:2], progress=Silent(), stop=StopRequest())
    assert figures["steps"] == 6
    assert figures["eval_loss"] < 0.7 * figures["eval_loss_before"]
    log = run.log.read_text()
    assert f"packing: 12 examples in 3 rows of at most {length} tokens" in log
    assert "optimiser steps: 6 = 3 rows × num_train_epochs 8 ÷ 4, rounded up" in log


def test_an_adapter_learns_and_a_stopped_run_ends_with_the_same_one(
    tmp_path: Path, model_folder: Path, examples: list[Tokens]
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


def test_max_steps_ends_a_training_before_its_epochs() -> None:
    config = SFTConfig(
        model_name_or_path="base",
        num_train_epochs=2,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=1,
    )
    assert num_steps(10, config) == 10
    assert num_steps(10, replace(config, max_steps=3)) == 3
    assert num_steps(10, replace(config, max_steps=99)) == 10
