"""TRL's own loss as an oracle: prompts, completions and rewards in, loss and gradients out.

TRL builds its inputs itself (`_generate_and_score_completions`), with only the sampling replaced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tests.numerics.step_parts import gradients_of
from tests.unit.tiny_models import END, PAD, VOCAB, tiny_model
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

MAX_LENGTH = 6
"""Longest completion; one of this length without an end was cut."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What was sampled: P prompts, P * G completions in their order, a reward for each."""

    prompts: Sequence[tuple[int, ...]]
    completions: Sequence[tuple[int, ...]]
    rewards: Sequence[float]

    @property
    def group_size(self) -> int:
        """G."""
        return len(self.completions) // len(self.prompts)

    def only(self, groups: Sequence[int]) -> Step:
        """Return the step with these groups alone."""
        rows = [g * self.group_size + i for g in groups for i in range(self.group_size)]
        return Step(
            prompts=[self.prompts[g] for g in groups],
            completions=[self.completions[row] for row in rows],
            rewards=[self.rewards[row] for row in rows],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What an implementation says about a step."""

    loss: Tensor
    gradients: Mapping[str, Tensor]


class Oracle:
    """TRL's trainer around a saved model.

    Args:
        folder: Of the model.
        step: What it is given as sampled.
        settings: Of `GRPOConfig`.
    """

    def __init__(self, folder: Path, step: Step, **settings: Any) -> None:
        self.step = step
        rows = len(step.completions)
        self.trainer: Any = GRPOTrainer(
            str(folder),
            lambda completions, **_: list(step.rewards),
            args=GRPOConfig(
                output_dir=str(folder / "trl"),
                model_init_kwargs={"dtype": "auto"},
                bf16=False,
                use_cpu=True,
                per_device_train_batch_size=rows,
                num_generations=step.group_size,
                max_completion_length=MAX_LENGTH,
                gradient_checkpointing=False,
                report_to="none",
                **settings,
            ),
            train_dataset=Dataset.from_dict({"prompt": ["w2"]}),
            processing_class=word_tokenizer(),
        )
        self.trainer.model.train()
        self.trainer.current_gradient_accumulation_steps = 1
        if self.trainer.ref_model is not None:
            disturb(self.trainer.ref_model)

    def inputs(self, rollout_logprobs: Sequence[Sequence[float]] | None = None) -> dict[str, Any]:
        """Return what TRL prepares for its loss, advantages and reference included."""
        step, texts = self.step, [""] * len(self.step.completions)
        repeated = [list(p) for p in step.prompts for _ in range(step.group_size)]
        completions = [list(completion) for completion in step.completions]
        logprobs = None if rollout_logprobs is None else [list(row) for row in rollout_logprobs]

        def generate(prompts: list[Any]) -> tuple[Any, ...]:
            return repeated, completions, None, texts, logprobs, {}, None, []

        self.trainer._generate = generate
        return self.trainer._generate_and_score_completions([{"prompt": ""} for _ in texts])

    def judge(self, inputs: dict[str, Any]) -> Verdict:
        """Return TRL's loss of prepared inputs, and the gradient of every parameter."""
        model = self.trainer.model
        model.zero_grad()
        loss = self.trainer.compute_loss(model, inputs)
        loss.backward()
        return Verdict(loss=loss.detach(), gradients=gradients_of(model))


def disturb(model: PreTrainedModel) -> None:
    """Move every weight a little, the same way each time: a reference unlike the policy."""
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in model.parameters():
            noise = torch.randn(weight.shape, generator=random, dtype=torch.float64)
            weight += (0.05 * noise).to(weight.dtype)


def save_tiny(folder: Path, kind: str) -> None:
    """Write a tiny random model."""
    tiny_model(kind, torch.float64).save_pretrained(folder)


def load_tiny(folder: Path) -> PreTrainedModel:
    """Return the model, in float64 and ready to be trained."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).train()


def word_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer with the tiny models' special tokens."""
    words = {"<pad>": PAD, "<end>": END} | {f"w{i}": i for i in range(2, VOCAB)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>", padding_side="left"
    )
