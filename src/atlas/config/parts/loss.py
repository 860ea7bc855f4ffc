"""Configuration of the objective of GRPO, and of what is taken off a reward for length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from atlas.config.grammar.schema import Part, key

LossType = Literal["grpo", "dapo", "dr_grpo", "gspo", "cispo"]
AdvantageScale = Literal["group", "batch", "none"]
KlEstimator = Literal["k1", "k2", "k3"]


@dataclass(frozen=True, kw_only=True)
class LossConfig(Part):
    """Advantages, ratios and the KL."""

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
        True,
        "Leave teachings that hit max_new_tokens out of the loss; they were not finished. One that "
        "was cut in its thoughts stays in: it is known to teach nothing.",
    )
    overlong_buffer: int = key(
        0,
        "The last tokens before max_new_tokens, over which a penalty for length rises; 0 for none.",
        ge=0,
    )
    overlong_penalty: float = key(
        1.0, "Taken off the reward of a teaching as long as max_new_tokens.", ge=0
    )
