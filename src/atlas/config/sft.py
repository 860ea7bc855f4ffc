"""Configuration of the supervised warm-up (the SFT stage)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from atlas.config.data import DataConfig
from atlas.config.optim import TrainConfig
from atlas.config.schema import key, like


@dataclass(frozen=True, kw_only=True, slots=True)
class SFTConfig(DataConfig):
    """The teacher learns from good sessions. The defaults are those of the guide."""

    job: Literal["sft"] = key("sft", "Which job the file is for.")
    output_dir: str = like(TrainConfig, "output_dir", "checkpoints/sft")
    num_train_epochs: float = key(1.0, "Passes over the training examples.", gt=0)
    max_seq_length: int = key(2048, "Longer examples, in tokens, are left out.", ge=8)
