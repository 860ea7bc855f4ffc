"""The clipped surrogate with one ratio a sequence (GSPO).

    s    = exp(mean_T (policy - old))
    loss = -min(s A, clip(s, 1 - eps_low, 1 + eps_high) A)

Source: Zheng et al. 2025 (Group Sequence Policy Optimization, arXiv 2507.18071). The ratio is the
geometric mean of the token ratios, so it lies near 1 whatever the length, and whole responses are
clipped, not tokens; the paper's epsilons are 3e-4 and 4e-4, far below PPO's 0.2. Every token of a
row carries the row's loss, so reduce it by the mean of each row.

Shapes: B rows, T tokens.
"""

from __future__ import annotations

from atlas.objectives.ratio import bounded_exp
from atlas.objectives.reduction import row_means
from atlas.objectives.surrogate import (
    SurrogateInputs,
    SurrogateTerms,
    clip_ratios,
    token_log_ratios,
    used_advantages,
)


def sequence_surrogate(
    inputs: SurrogateInputs, epsilon_low: float, epsilon_high: float
) -> SurrogateTerms:
    """Clipped surrogate with one ratio a row, repeated at each of its tokens.

    The rest is as in `token_surrogate`; all is equal along a row that has one advantage.
    """
    log_ratio_B = row_means(token_log_ratios(inputs), inputs.mask_BT)
    ratio_B1 = bounded_exp(log_ratio_B).unsqueeze(-1)
    ratio_BT = ratio_B1.expand(inputs.mask_BT.shape)
    return clip_ratios(ratio_BT, used_advantages(inputs), epsilon_low, epsilon_high)
