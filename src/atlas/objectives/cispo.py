"""REINFORCE with a clipped importance weight a token (CISPO).

    loss = -stop_gradient(min(rho, 1 + eps_high)) A policy,    rho = exp(policy - old)

Source: MiniMax 2025 (MiniMax-M1, arXiv 2506.13585). The weight is clipped, not the update: every
token keeps a gradient. The paper writes a lower bound too and sets it so wide that it never binds;
there is none here. The bound is ``1 + eps_high``; TRL's ``epsilon_high`` for this loss is the
bound itself, so ours is TRL's minus 1.

The loss is not an estimate of the objective, only its gradient counts.

Shapes: B rows, T tokens.
"""

from __future__ import annotations

import torch

from atlas.objectives.ratio import bounded_exp
from atlas.objectives.surrogate import (
    SurrogateInputs,
    SurrogateTerms,
    token_log_ratios,
    used_advantages,
)


def cispo_surrogate(
    inputs: SurrogateInputs, epsilon_low: float, epsilon_high: float
) -> SurrogateTerms:
    """Log-probability of each token, weighted by its advantage and its clipped ratio.

    Args:
        inputs: Log-probabilities, advantages and mask.
        epsilon_low: Not used: the weight has no lower bound (see the module).
        epsilon_high: The weight is held at ``1 + epsilon_high``, whatever the advantage's sign.
    """
    del epsilon_low
    ratio_BT = bounded_exp(token_log_ratios(inputs).detach())
    weight_BT = ratio_BT.clamp(max=1 + epsilon_high)
    return SurrogateTerms(
        loss_BT=-weight_BT * used_advantages(inputs) * inputs.policy_logprobs_BT,
        ratio_BT=ratio_BT,
        clipped_low_BT=torch.zeros_like(inputs.mask_BT),
        clipped_high_BT=ratio_BT > 1 + epsilon_high,
    )
