"""Configuration of the supervised warm-up (the SFT stage)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from atlas.config.grammar.schema import key, like
from atlas.config.parts.goals import LossGoalsConfig
from atlas.config.parts.prompts import PromptsConfig
from atlas.config.train import TrainConfig

ExampleWeight = Literal["reward", "validation"]


@dataclass(frozen=True, kw_only=True)
class SFTConfig(LossGoalsConfig, PromptsConfig, TrainConfig):
    """The teacher learns from good sessions. The defaults are those of the guide."""

    job: Literal["sft"] = key("sft", "Which job the file is for.")
    output_dir: str = like(TrainConfig, "output_dir", "checkpoints/sft")
    num_train_epochs: float = key(1.0, "Passes over the training examples.", gt=0)
    max_steps: int = key(
        0, "Optimiser steps at most, for a try-out; 0: num_train_epochs decides.", ge=0
    )
    max_seq_length: int = key(
        2048,
        "Longest row, in tokens. An example is never cut: a teaching that would end beyond it is "
        "left out with all that follow it, and counted.",
        ge=8,
    )
    packing: bool = key(
        False,
        "Fill rows of max_seq_length with whole examples that don't see one another; the batch "
        "sizes then count rows. Faster where most examples are much shorter.",
    )
    example_weights: tuple[ExampleWeight, ...] | None = key(
        None,
        "What examples count by, one or both: reward (the session's), validation (the share of its "
        "steps that were found valid). null: all alike.",
    )
    eval_steps: int = key(
        50,
        "Optimiser steps between two measurements of the loss on held-out examples; 0: before the "
        "first step and after the last only.",
        ge=0,
    )
    load_best_model_at_end: bool = key(
        True,
        "final/ is the model with the lowest loss on held-out examples of all that were measured, "
        "and not the last one.",
    )
