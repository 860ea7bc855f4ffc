"""Every key that the guide names does what it says: one test a key, on GRPO runs of a tiny model.

A run is one or two steps of two prompts with four teachings each. Runs that tests have in common
are made once.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import torch
from tests.unit.training.test_grpo import config_for
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from atlas.data.tasks import mixed_tasks
from atlas.from_scratch.model.tokenizer import train_tokenizer
from atlas.models.checkpoints import load_model, load_state, newest_checkpoint, save_model
from atlas.models.passes import recomputing
from atlas.run.metric_names import info_of
from atlas.run.progress import Silent
from atlas.run.run_dir import RunDir
from atlas.run.stopping import StopRequest
from atlas.training.grpo import train_grpo

RATE = 1e-3


@dataclass(frozen=True)
class Done:
    """A finished run, and the model that it began with."""

    run: RunDir
    start: Path

    @cached_property
    def lines(self) -> list[dict[str, Any]]:
        """The metrics, a step each."""
        return [json.loads(line) for line in self.run.metrics.read_text().splitlines()]

    @cached_property
    def rollouts(self) -> list[dict[str, Any]]:
        """The first step's."""
        return pyarrow.parquet.read_table(self.run.rollouts / "step_000001.parquet").to_pylist()

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """What it ended with."""
        return load_model(self.run.final).state_dict()

    @cached_property
    def moved(self) -> dict[str, Tensor]:
        """By how much each weight moved."""
        before = load_model(self.start).state_dict()
        return {name: weight - before[name] for name, weight in self.weights.items()}

    def by_prompt(self) -> list[list[str]]:
        """The teachings of the first step, by their prompt."""
        prompts = dict.fromkeys(row["task_id"] for row in self.rollouts)
        return [[r["teaching"] for r in self.rollouts if r["task_id"] == p] for p in prompts]


Train = Callable[..., Done]


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Trains with changed keys; the same keys are trained with once."""
    tasks = mixed_tasks(("basic_arithmetic", "chain_sum"), 12, seed=3)
    texts = [f"{task.question} Answer: {task.answer}" for task in tasks]
    tokenizer = train_tokenizer(texts, vocab_size=300)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=256,
            tie_word_embeddings=True,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            initializer_range=0.2,
        )
    )
    start = tmp_path_factory.mktemp("start") / "model"
    save_model(start, model, tokenizer)
    done: dict[tuple[Any, ...], Done] = {}

    def run(**changed: Any) -> Done:
        settings: dict[str, Any] = {
            "max_steps": 1,
            "learning_rate": RATE,
            "lr_scheduler_type": "constant",
            "warmup_ratio": 0.0,
            "weight_decay": 0.0,
        } | changed
        made = tuple(sorted(settings.items()))
        if made not in done:
            run = RunDir.create(tmp_path_factory.mktemp("run") / "run", "grpo")
            config = config_for(start, run.path, **settings)
            train_grpo(run, config, tasks, progress=Silent(), stop=StopRequest())
            done[made] = Done(run=run, start=start)
        return done[made]

    return run


def equal(left: Done, right: Done) -> bool:
    """Both ended with the same weights."""
    return all(torch.equal(weight, right.weights[name]) for name, weight in left.weights.items())


def test_beta_weighs_the_kl(train: Train) -> None:
    """In the second step the loss has risen by just that many times the KL of a token."""
    low, high = train(max_steps=2, beta=0.04).lines[1], train(max_steps=2, beta=0.5).lines[1]
    assert low["train/kl"] == pytest.approx(high["train/kl"]) != 0
    risen = high["train/loss"] - low["train/loss"]
    assert risen == pytest.approx(0.46 * low["train/kl_per_token"], rel=1e-3)
    assert "train/kl" not in train(max_steps=2, beta=0.0).lines[1]


def test_temperature_decides_how_different_the_teachings_are(train: Train) -> None:
    cold, hot = train(temperature=0.01), train(temperature=1.5)
    assert [len(set(teachings)) for teachings in cold.by_prompt()] == [1, 1]
    assert [len(set(teachings)) for teachings in hot.by_prompt()] == [4, 4]


def test_top_p_leaves_out_what_is_unlikely(train: Train) -> None:
    """At next to nothing only the likeliest token is left, whatever the temperature."""
    nucleus = train(temperature=1.5, top_p=1e-6)
    assert [len(set(teachings)) for teachings in nucleus.by_prompt()] == [1, 1]
    assert nucleus.by_prompt() == train(temperature=0.01).by_prompt()


def test_learning_rate_is_the_length_of_the_first_step(train: Train) -> None:
    """AdamW's first step moves every weight that has a gradient by the rate."""
    slow, fast = train(), train(learning_rate=10 * RATE)
    for done, rate in ((slow, RATE), (fast, 10 * RATE)):
        assert done.lines[0]["train/learning_rate"] == rate
        longest = max(float(moved.abs().max()) for moved in done.moved.values())
        assert longest == pytest.approx(rate, rel=0.02)


def test_num_generations_is_the_size_of_a_group(train: Train) -> None:
    assert [len(teachings) for teachings in train(num_generations=3).by_prompt()] == [3, 3]


def test_max_new_tokens_cuts_teachings(train: Train) -> None:
    for limit in (3, 6):
        lengths = [row["teaching_tokens"] for row in train(max_new_tokens=limit).rollouts]
        assert max(lengths) == limit


def test_warmup_ratio_is_the_share_of_steps_in_which_the_rate_rises(train: Train) -> None:
    warm = train(max_steps=4, warmup_ratio=0.5, num_generations=2)
    rates = [line["train/learning_rate"] for line in warm.lines if "train/learning_rate" in line]
    assert [round(rate / RATE, 4) for rate in rates] == [0.3333, 0.6667, 1.0, 1.0][-len(rates) :]
    assert len(rates) > 1


def test_weight_decay_shrinks_matrices_by_its_share(train: Train) -> None:
    plain, decayed = train(), train(weight_decay=0.5)
    before = load_model(plain.start).state_dict()
    for name, weight in plain.weights.items():
        shrunk = weight - decayed.weights[name]
        expected = RATE * 0.5 * before[name] if weight.ndim >= 2 else torch.zeros_like(weight)
        torch.testing.assert_close(shrunk, expected, rtol=0, atol=1e-7)


def test_max_grad_norm_is_the_length_of_a_longer_gradient(train: Train) -> None:
    """What AdamW remembers after one step is a tenth of the gradient that it was given."""
    lengths = {}
    for limit in (1e-3, 1e6):
        run = train(max_steps=2, save_steps=1, max_grad_norm=limit).run
        folder = newest_checkpoint(run.checkpoints)
        assert folder is not None
        states = load_state(folder)["engine"]["optimizer"]["state"].values()
        moments = torch.cat([state["exp_avg"].flatten() for state in states])
        lengths[limit] = 10 * float(moments.norm())
    logged = train(max_steps=2, save_steps=1, max_grad_norm=1e-3).lines[0]["train/grad_norm"]
    assert lengths[1e-3] == pytest.approx(1e-3, rel=1e-3)
    assert lengths[1e6] == pytest.approx(logged, rel=1e-3)
    assert logged > 1e-3


def test_batch_size_and_accumulation_make_the_prompts_of_a_step(train: Train) -> None:
    """Two passes of one prompt are one of two; three passes of two are six prompts."""
    one_by_one = train(per_device_train_batch_size=1, gradient_accumulation_steps=2)
    assert one_by_one.by_prompt() == train().by_prompt()
    assert equal(one_by_one, train())
    many = train(per_device_train_batch_size=2, gradient_accumulation_steps=3)
    assert len(many.by_prompt()) == 6


def test_gradient_checkpointing_computes_layers_again_and_changes_nothing(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    real = recomputing.checkpoint

    def counted(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        return real(*arguments, **named)

    monkeypatch.setattr(recomputing, "checkpoint", counted)
    plain = train(seed=1)
    assert not calls
    again = train(seed=1, gradient_checkpointing=True)
    assert calls
    for name, weight in plain.weights.items():
        torch.testing.assert_close(again.weights[name], weight, rtol=0, atol=1e-6)


def test_every_metric_of_a_run_is_in_the_dictionary(train: Train) -> None:
    logged = {
        name for line in train(max_steps=2, canary_tasks=2, canary_steps=1).lines for name in line
    }
    names = logged - {"step", "time", "stage", "chain"}
    assert [name for name in sorted(names) if info_of(name) is None] == []
    charts = {"train/reward", "train/kl", "train/kl_per_token", "train/non_degrade_rate"}
    phases = {"time/rollout", "time/update", "train/tokens_per_second", "train/entropy"}
    causes = {"train/dead_groups", "train/dead_groups_equal", "train/dead_groups_unscored"}
    ratios = {"train/clip_ratio", "train/importance_ratio_mean", "train/mismatch_kl"}
    assert charts | phases | causes | ratios <= names
