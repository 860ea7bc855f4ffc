"""Configuration of the supervised warm-up (the SFT stage)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from atlas.config.optim import TrainConfig
from atlas.config.schema import key, like


@dataclass(frozen=True, kw_only=True, slots=True)
class SFTConfig(TrainConfig):
    """The teacher learns from good sessions. The defaults are those of the guide."""

    job: Literal["sft"] = key("sft", "Which job the file is for.")
    output_dir: str = like(TrainConfig, "output_dir", "checkpoints/sft")
    num_train_epochs: float = key(1.0, "Passes over the training examples.", gt=0)
    max_seq_length: int = key(2048, "Longer examples, in tokens, are left out.", ge=8)
    db_url: str | None = key(
        None,
        "PostgreSQL that the sessions are read from: postgresql://user:password@host/name.",
        secret=True,
    )
    min_reward: float = key(
        0.8, "Only sessions with at least this reward are learned from.", ge=0, le=1
    )
    status_filters: tuple[str, ...] = key(
        ("succeeded",), "Only sessions with one of these states are learned from."
    )
    eval_split_ratio: float = key(
        0.1,
        "Share of the sessions, chosen by hash, that is held out for the evaluation loss.",
        ge=0,
        lt=1,
    )
