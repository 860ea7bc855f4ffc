"""Configuration of the small base model that ships with the package (``atlas base-model``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from atlas.config.grammar.schema import key, like
from atlas.config.parts.optim import LrSchedulerType, OptimConfig
from atlas.config.parts.record import RecordConfig
from atlas.config.parts.run import RunConfig
from atlas.errors import AtlasError

Precision = Literal["bf16", "float32"]


@dataclass(frozen=True, kw_only=True)
class BaseModelConfig(RunConfig):
    """A language model from random weights, trained on worked tasks."""

    job: Literal["base_model"] = key("base_model", "Which job the file is for.")
    output_dir: str = like(RunConfig, "output_dir", "runs/base_model")
    logging_steps: int = like(RunConfig, "logging_steps", 20)
    families: tuple[str, ...] = key(
        ("basic_arithmetic", "chain_sum", "leg_counting"), "Task families of reasoning-gym."
    )
    family_weights: tuple[float, ...] = key(
        (0.55, 0.25, 0.2), "Share of each family in the corpus, in the order of families.", gt=0
    )
    model_size: str = key("nano", "A size of from_scratch/model/sizes.py.")
    vocab_size: int = key(480, "Tokens of the vocabulary, bytes included.", ge=300)
    max_seq_length: int = key(200, "Longer examples lose their end, in tokens.", ge=64)
    max_steps: int = key(6000, "Optimiser steps.", ge=1)
    tokens_per_step: int = key(2560, "Tokens of one optimiser step, padding counted.", ge=256)
    precision: Precision = key(
        "bf16", "Of the computation; the weights are always float32. bf16 is faster."
    )
    num_threads: int = key(2, "Threads of the computation; the result depends on it.", ge=1)
    learning_rate: float = like(OptimConfig, "learning_rate", 3e-3)
    lr_scheduler_type: LrSchedulerType = like(OptimConfig, "lr_scheduler_type", "cosine")
    warmup_ratio: float = like(OptimConfig, "warmup_ratio", 0.02)
    weight_decay: float = like(OptimConfig, "weight_decay", 0.05)
    max_grad_norm: float = like(OptimConfig, "max_grad_norm", 1.0)
    save_steps: int = like(RecordConfig, "save_steps", 500)

    def __post_init__(self) -> None:
        """Check what two keys say of one another."""
        RunConfig.__post_init__(self)
        if len(self.family_weights) != len(self.families):
            raise AtlasError(
                f"family_weights has {len(self.family_weights)} entries, families "
                f"{len(self.families)}; give one weight a family"
            )
