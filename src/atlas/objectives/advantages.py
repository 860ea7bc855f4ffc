"""Group-relative advantages: rewards of the members of each group -> one advantage a member.

    A = (r - mean_G r) / (std_G r + eps)      scale "group"
    A = (r - mean_G r) / (std_PG r + eps)     scale "batch"
    A =  r - mean_G r                         scale "none"

Sources: group scale, Shao et al. 2024 (DeepSeekMath, arXiv 2402.03300); no scale, Liu et al. 2025
(Dr. GRPO, arXiv 2503.20783); batch scale, Liu et al. 2025 (Tricks or Traps, arXiv 2508.08221).
The standard deviation is the unbiased one (divided by n - 1), as in TRL.

A member that abstained (the scorer could not tell) is in no mean and no standard deviation. A group
is *dead* when fewer than two of its members were scored or when their rewards are equal: there is
nothing to learn from it, and it belongs in no loss, no denominator and no KL.

Shapes: P prompts, G members of a group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

AdvantageScale = Literal["group", "batch", "none"]

EQUAL_TOLERANCE = 1e-6
"""Rewards of a group whose largest and smallest differ by no more than this are equal."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdvantageResult:
    """Advantages, and which groups and members are in the update.

    Example: two groups of two; the second group's rewards are equal, so it is dead:
        >>> rewards_PG = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
        >>> result = group_advantages(rewards_PG, torch.ones(2, 2, dtype=torch.bool), "none")
        >>> result.advantages_PG.tolist(), result.live_P.tolist(), result.num_equal
        ([[0.5, -0.5], [0.0, 0.0]], [True, False], 1)
    """

    advantages_PG: Tensor
    """[P, G]; exactly 0 for members that are not used."""
    used_PG: Tensor
    """[P, G] bool: scored, and in a live group."""
    live_P: Tensor
    """[P] bool: the group is in the update."""
    too_few_scored_P: Tensor
    """[P] bool: dead, because fewer than two members were scored."""
    equal_P: Tensor
    """[P] bool: dead, because all scored members earned the same."""

    @property
    def num_too_few_scored(self) -> int:
        """Groups that are dead because fewer than two members were scored."""
        return int(self.too_few_scored_P.sum())

    @property
    def num_equal(self) -> int:
        """Groups that are dead because their rewards are equal."""
        return int(self.equal_P.sum())

    @property
    def num_dead(self) -> int:
        """Groups that are out of the update, whatever the cause."""
        return self.num_too_few_scored + self.num_equal


def group_advantages(
    rewards_PG: Tensor,
    scored_PG: Tensor,
    scale: AdvantageScale = "group",
    eps: float = 1e-4,
) -> AdvantageResult:
    """Compare each member's reward with the mean of its group.

    Args:
        rewards_PG: [P, G] rewards, floating point; any value, NaN too, where ``scored_PG`` is
            False.
        scored_PG: [P, G] bool; False where the scorer abstained.
        scale: What the difference is divided by. ``batch`` takes every scored reward of the call,
            dead groups included, so pass the whole step's rewards.
        eps: Added to the standard deviation, in units of the reward.

    Raises:
        ValueError: If a scored reward is not finite, or the scale is unknown.
    """
    if scale not in get_args(AdvantageScale):
        raise ValueError(f"scale is {scale!r}; it must be one of {get_args(AdvantageScale)}")
    not_finite_P = (scored_PG & ~rewards_PG.isfinite()).any(-1)
    if bool(not_finite_P.any()):
        groups = not_finite_P.nonzero().flatten().tolist()
        raise ValueError(f"groups {groups} hold rewards that are scored but not finite")

    rewards_PG = torch.where(scored_PG, rewards_PG, 0.0)
    num_scored_P1 = scored_PG.sum(-1, keepdim=True)
    mean_P1 = rewards_PG.sum(-1, keepdim=True) / num_scored_P1.clamp(min=1)
    centered_PG = torch.where(scored_PG, rewards_PG - mean_P1, 0.0)

    highest_P = rewards_PG.masked_fill(~scored_PG, -torch.inf).amax(-1)
    lowest_P = rewards_PG.masked_fill(~scored_PG, torch.inf).amin(-1)
    too_few_scored_P = num_scored_P1.squeeze(-1) < 2
    equal_P = ~too_few_scored_P & (highest_P - lowest_P <= EQUAL_TOLERANCE)
    live_P = ~too_few_scored_P & ~equal_P
    used_PG = scored_PG & live_P.unsqueeze(-1)

    if scale == "group":
        centered_PG = centered_PG / (_unbiased_std(centered_PG, num_scored_P1) + eps)
    elif scale == "batch":
        num_scored = scored_PG.sum()
        mean = rewards_PG.sum() / num_scored.clamp(min=1)
        around_mean_N = torch.where(scored_PG, rewards_PG - mean, 0.0).flatten()
        centered_PG = centered_PG / (_unbiased_std(around_mean_N, num_scored) + eps)

    return AdvantageResult(
        advantages_PG=torch.where(used_PG, centered_PG, 0.0),
        used_PG=used_PG,
        live_P=live_P,
        too_few_scored_P=too_few_scored_P,
        equal_P=equal_P,
    )


def _unbiased_std(centered: Tensor, count: Tensor) -> Tensor:
    """Root of the sum of squares over ``count - 1``, along the last axis, which is kept."""
    return (centered.square().sum(-1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
