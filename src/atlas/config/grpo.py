"""Configuration of the reinforcement of the teacher (the GRPO stage)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from atlas.config.grammar.schema import key, like, required
from atlas.config.optim import TrainConfig
from atlas.config.rollout_servers import RolloutConfig

LossType = Literal["grpo", "dapo", "dr_grpo", "gspo", "cispo"]
AdvantageScale = Literal["group", "batch", "none"]
KlEstimator = Literal["k1", "k2", "k3"]


@dataclass(frozen=True, kw_only=True, slots=True)
class GRPOConfig(RolloutConfig):
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
        "Tokens in one forward pass of the update, prompts counted once a group. Lower when memory "
        "runs out.",
        ge=1,
    )
    num_iterations: int = key(
        1,
        "Optimiser steps on the same teachings. Above 1 the clips bind; sampling costs less.",
        ge=1,
    )

    # How it is sampled.
    temperature: float = key(
        0.7, "Of the teacher's sampling. Higher for more varied teachings.", gt=0
    )
    top_p: float = key(
        0.95, "Nucleus of the teacher's sampling; 1 samples from everything.", gt=0, le=1
    )
    top_k: int = key(
        0, "Sample from this many of the likeliest tokens only; 0 samples from all.", ge=0
    )
    min_p: float = key(
        0.0,
        "Leave out tokens with less than this share of the likeliest one's probability.",
        ge=0,
        le=1,
    )
    repetition_penalty: float = key(
        1.0,
        "Above 1, tokens that were there before are less likely. The trainer's log-probabilities "
        "know nothing of it, so keep it at 1 unless teachings go round in circles.",
        gt=0,
    )
    stop: tuple[str, ...] | None = key(
        None, "Texts that end a teaching, which keeps the token that completes one of them."
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
    overlong_buffer: int = key(
        0,
        "The last tokens before max_new_tokens, over which a penalty for length rises; 0 for none.",
        ge=0,
    )
    overlong_penalty: float = key(
        1.0, "Taken off the reward of a teaching as long as max_new_tokens.", ge=0
    )
    length_probe_samples: int = key(
        32,
        "Teachings and attempts that are sampled before training, to see how many will be cut; "
        "0 for none.",
        ge=0,
    )
    max_clipped_share: float = key(
        0.5, "Training is refused when more of them than this are cut.", ge=0, le=1
    )


def computes_whole(config: GRPOConfig) -> bool:
    """Tell whether every process computes with the whole policy between updates.

    To sample from it; and where it has an adapter, since it is then its own reference.
    """
    return config.rollout_engine == "local" or (config.use_peft and bool(config.beta))
