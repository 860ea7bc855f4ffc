"""The clipped surrogate with a ratio a token, and the shapes that its relatives share.

    loss = -min(rho A, clip(rho, 1 - eps_low, 1 + eps_high) A),    rho = exp(policy - old)

Sources: Schulman et al. 2017 (PPO, arXiv 1707.06347), equation 7; two epsilons: Yu et al. 2025
(DAPO, "clip-higher", arXiv 2503.14476). A token whose ratio has left the range in the direction
that its advantage asks for gets no gradient. Where ``old`` equals the policy, rho is 1 and the
gradient is REINFORCE's, ``-A grad(policy)``.

Shapes: B rows, T tokens; a 1 is an axis that broadcasts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from atlas.objectives.ratio import bounded_exp
from atlas.objectives.reduction import fill_masked


@dataclass(frozen=True, kw_only=True, slots=True)
class SurrogateInputs:
    """What every surrogate reads; masked places may hold anything."""

    policy_logprobs_BT: Tensor
    """[B, T] with gradient."""
    old_logprobs_BT: Tensor
    """[B, T] under the policy that started the step; gets no gradient."""
    advantages_BT: Tensor
    """[B, T], or [B, 1] with one for all tokens of a row; gets no gradient."""
    mask_BT: Tensor
    """[B, T] bool."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SurrogateTerms:
    """The loss at each token, not yet reduced, and what the log wants to know about clipping."""

    loss_BT: Tensor
    """[B, T] to be minimised; anything in masked places."""
    ratio_BT: Tensor
    """[B, T] before clipping, no gradient; 1 in masked places of a token-level ratio."""
    clipped_low_BT: Tensor
    """[B, T] bool: held at the lower bound."""
    clipped_high_BT: Tensor
    """[B, T] bool: held at the upper bound."""


def token_surrogate(
    inputs: SurrogateInputs, epsilon_low: float, epsilon_high: float
) -> SurrogateTerms:
    """Clipped surrogate with one ratio a token.

    Args:
        inputs: Log-probabilities, advantages and mask.
        epsilon_low: The ratio is held at ``1 - epsilon_low`` where the advantage is negative.
        epsilon_high: The ratio is held at ``1 + epsilon_high`` where the advantage is positive.
    """
    ratio_BT = bounded_exp(token_log_ratios(inputs))
    return clip_ratios(ratio_BT, used_advantages(inputs), epsilon_low, epsilon_high)


def token_log_ratios(inputs: SurrogateInputs) -> Tensor:
    """Return ``policy - old`` [B, T], 0 in masked places, with the policy's gradient only."""
    log_ratio_BT = inputs.policy_logprobs_BT - inputs.old_logprobs_BT.detach()
    return fill_masked(log_ratio_BT, inputs.mask_BT)


def used_advantages(inputs: SurrogateInputs) -> Tensor:
    """Return the advantages, [B, T] or [B, 1], without gradient, 0 where none of theirs is used."""
    a_row = inputs.advantages_BT.shape[-1] == 1
    in_loss_BT = inputs.mask_BT.any(-1, keepdim=True) if a_row else inputs.mask_BT
    return fill_masked(inputs.advantages_BT.detach(), in_loss_BT)


def clip_ratios(
    ratio_BT: Tensor, advantages_BT: Tensor, epsilon_low: float, epsilon_high: float
) -> SurrogateTerms:
    """Take the smaller of the plain and the clipped objective at each token.

    Args:
        ratio_BT: [B, T], positive, with gradient.
        advantages_BT: [B, T] or [B, 1].
        epsilon_low: Distance of the lower bound from 1.
        epsilon_high: Distance of the upper bound from 1.
    """
    clipped_BT = ratio_BT.clamp(1 - epsilon_low, 1 + epsilon_high)
    objective_BT = torch.minimum(ratio_BT * advantages_BT, clipped_BT * advantages_BT)
    raw_BT = ratio_BT.detach()
    return SurrogateTerms(
        loss_BT=-objective_BT,
        ratio_BT=raw_BT,
        clipped_low_BT=(raw_BT < 1 - epsilon_low) & (advantages_BT < 0),
        clipped_high_BT=(raw_BT > 1 + epsilon_high) & (advantages_BT > 0),
    )
