"""Scored groups to the samples of an update, each with its advantage.

Shapes: P prompts, G members of a group.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from atlas.objectives.advantages import AdvantageResult, AdvantageScale, group_advantages
from atlas.types import RolloutGroup, Tokens


def train_samples(
    groups: Sequence[RolloutGroup],
    *,
    scale: AdvantageScale,
    mask_truncated: bool,
    epsilon: float = 1e-4,
) -> tuple[list[Tokens], AdvantageResult]:
    """Return the samples of the update, members of a group side by side.

    Args:
        groups: All groups of the optimiser step.
        scale: What advantages are divided by.
        mask_truncated: Leave teachings that were cut out of the loss.
        epsilon: Added to what they are divided by, in units of reward.
    """
    values = [[rollout.score.value for rollout in group.rollouts] for group in groups]
    rewards_PG = torch.tensor([[float("nan") if v is None else v for v in row] for row in values])
    result = group_advantages(rewards_PG, ~rewards_PG.isnan(), scale, epsilon)
    samples: list[Tokens] = []
    for p, group in enumerate(groups):
        for g, rollout in enumerate(group.rollouts):
            truncated = rollout.teaching.finish_reason == "length"
            used = bool(result.used_PG[p, g]) and not (truncated and mask_truncated)
            samples.append(
                Tokens.of(
                    rollout.teaching.prompt_ids,
                    rollout.teaching.token_ids,
                    logprobs=rollout.teaching.logprobs,
                    advantage=float(result.advantages_PG[p, g]) if used else None,
                    source=group.task.id,
                )
            )
    return samples, result
