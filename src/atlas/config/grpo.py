"""Configuration of the reinforcement of the teacher (the GRPO stage)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from atlas.config.optim import TrainConfig
from atlas.config.reward import RewardConfig
from atlas.config.schema import key, like, required

LossType = Literal["grpo", "dapo", "dr_grpo", "gspo", "cispo"]
AdvantageScale = Literal["group", "batch", "none"]
KlEstimator = Literal["k1", "k2", "k3"]


@dataclass(frozen=True, kw_only=True, slots=True)
class GRPOConfig(RewardConfig):
    """The teacher is rewarded for what its teaching does to a frozen student.

    ``per_device_train_batch_size`` counts prompts here, each with its whole group of
    ``num_generations`` teachings, so that no group is ever split; memory is bounded by
    ``max_tokens_per_micro_batch``. The defaults are those of the guide.
    """

    job: Literal["grpo"] = key("grpo", "Which job the file is for.")
    output_dir: str = like(TrainConfig, "output_dir", "checkpoints/grpo")
    student_model: str = required("The student, which stays frozen: a folder or a hub id.")
    max_steps: int = key(500, "Optimiser steps, each on teachings sampled anew.", ge=1)
    learning_rate: float = like(
        TrainConfig,
        "learning_rate",
        5e-7,
        "Peak step size of AdamW. Lower when rewards collapse, higher when they don't move.",
    )

    # How much is sampled.
    num_generations: int = key(32, "Teachings per prompt, compared with one another.", ge=2)
    per_device_train_batch_size: int = key(
        1, "Prompts, each with all its teachings, in one pass on each device.", ge=1
    )
    gradient_accumulation_steps: int = like(TrainConfig, "gradient_accumulation_steps", 4)
    prompts_per_step: int = key(
        0,
        "Prompts per optimiser step. 0: per_device_train_batch_size × "
        "gradient_accumulation_steps × processes; otherwise gradient_accumulation_steps follows.",
        ge=0,
    )
    max_tokens_per_micro_batch: int = key(
        16384,
        "Completion tokens in one forward pass of the update. Lower when memory runs out.",
        ge=1,
    )

    # How it is sampled.
    temperature: float = key(
        0.7, "Of the teacher's sampling. Higher for more varied teachings.", gt=0
    )
    top_p: float = key(
        0.95, "Nucleus of the teacher's sampling; 1 samples from everything.", gt=0, le=1
    )
    max_new_tokens: int = key(512, "Longest teaching, in tokens.", ge=1)
    student_max_new_tokens: int = key(512, "Longest answer of the student, in tokens.", ge=1)
    approach_max_new_tokens: int = key(
        32,
        "Longest statement of how the student would go about a task, which the teacher reads.",
        ge=1,
    )

    # The loss.
    beta: float = key(
        0.04,
        "Weight of the KL to the starting policy. Higher when the teacher drifts too far.",
        ge=0,
    )
    kl_estimator: KlEstimator = key("k3", "Estimator of that KL; k3 is never negative.")
    loss_type: LossType = key("dapo", "Level of the ratio, kind of clipping and of averaging.")
    scale_rewards: AdvantageScale = key(
        "group", "Advantages are divided by the deviation of the group, of the batch, or not."
    )
    advantage_epsilon: float = key(
        1e-4,
        "Added to that deviation, in units of reward. Higher so that groups that differ by little "
        "more than noise count for little.",
        gt=0,
    )
    epsilon_low: float = key(0.2, "Ratios are clipped at 1 minus this.", ge=0, lt=1)
    epsilon_high: float = key(0.2, "Ratios are clipped at 1 plus this.", ge=0)
    importance_cap: float = key(
        2.0,
        "Largest weight that corrects the rollout engine's probabilities to the trainer's.",
        gt=0,
    )
    mask_truncated_completions: bool = key(
        True, "Leave teachings that hit max_new_tokens out of the loss; they were not finished."
    )
