"""Configuration of the small base model that ships with the package (``atlas base-model``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from atlas.config.optim import LrSchedulerType, TrainConfig
from atlas.config.schema import RunConfig, key, like


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseModelConfig(RunConfig):
    """A language model from random weights, trained on worked tasks."""

    job: Literal["base_model"] = key("base_model", "Which job the file is for.")
    output_dir: str = like(RunConfig, "output_dir", "runs/base_model")
    families: tuple[str, ...] = key(
        ("basic_arithmetic", "chain_sum", "leg_counting"), "Task families of reasoning-gym."
    )
    max_steps: int = key(3000, "Optimiser steps.", ge=1)
    per_device_train_batch_size: int = like(TrainConfig, "per_device_train_batch_size", 128)
    learning_rate: float = like(TrainConfig, "learning_rate", 1e-3)
    lr_scheduler_type: LrSchedulerType = like(TrainConfig, "lr_scheduler_type", "cosine")
    warmup_ratio: float = like(TrainConfig, "warmup_ratio", 0.02)
    weight_decay: float = like(TrainConfig, "weight_decay", 0.01)
    max_grad_norm: float = like(TrainConfig, "max_grad_norm", 1.0)
    save_steps: int = like(TrainConfig, "save_steps", 500)
