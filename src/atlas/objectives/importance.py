"""Truncated importance weights: the engine that sampled is not quite the trainer.

    token      w_t = min(exp(trainer_t - rollout_t), cap)
    sequence   w   = min(exp(sum_T (trainer - rollout)), cap), the same at each token of the row

Sampling engine and trainer compute the same weights with other kernels and precisions, so their
log-probabilities differ, and the samples are off-policy even in the first update. Source of the
truncation: Ionides 2008 ("Truncated importance sampling"); for this mismatch: Yao et al. 2025
("Your efficient RL framework secretly brings you off-policy RL training"). The sequence weight is
the exact ratio of two responses, a *sum* over tokens: unbiased, and wild on long ones.

Ratios are returned as they were before truncation too, since a truncated mean hides the mismatch.

Shapes: B rows, T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from atlas.objectives.ratio import bounded_exp
from atlas.objectives.reduction import fill_masked

ImportanceLevel = Literal["token", "sequence"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportanceWeights:
    """Weights for the loss, and the ratios that they were cut from. No gradient anywhere."""

    weights_BT: Tensor
    """[B, T] at most the cap; 1 in masked places."""
    raw_BT: Tensor
    """[B, T] before truncation; 1 in masked places."""
    truncated_BT: Tensor
    """[B, T] bool: the cap was lower than the raw ratio."""


def importance_weights(
    trainer_logprobs_BT: Tensor,
    rollout_logprobs_BT: Tensor,
    mask_BT: Tensor,
    cap: float = 2.0,
    level: ImportanceLevel = "token",
) -> ImportanceWeights:
    """Weigh each token by how much likelier the trainer finds it than the engine did.

    Args:
        trainer_logprobs_BT: [B, T] the trainer's, for the weights that sampled, in nats.
        rollout_logprobs_BT: [B, T] as reported by the engine, in nats.
        mask_BT: [B, T] bool; masked places may hold anything.
        cap: Largest weight, positive.
        level: One ratio a token, or one a row.
    """
    difference_BT = (trainer_logprobs_BT - rollout_logprobs_BT).detach()
    log_ratio_BT = fill_masked(difference_BT, mask_BT)
    if level == "sequence":
        row_B1 = log_ratio_BT.sum(-1, keepdim=True)
        log_ratio_BT = fill_masked(row_B1, mask_BT)
    raw_BT = bounded_exp(log_ratio_BT)
    return ImportanceWeights(
        weights_BT=torch.where(mask_BT, raw_BT.clamp(max=cap), 1.0),
        raw_BT=raw_BT,
        truncated_BT=mask_BT & (raw_BT > cap),
    )
