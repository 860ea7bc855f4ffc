"""From a value a token to one number, with the denominator as an argument.

    token_sum    = sum_B sum_T x / denominator                        DAPO, Dr. GRPO, CISPO
    row_mean_sum = sum_B (sum_T x / valid tokens of the row) / denominator      GRPO, GSPO

The denominator counts the whole optimiser step: all micro-batches of all ranks. So the values of
micro-batches and ranks *add up* to the value of the one big batch, by construction:

    grpo           number of rows with a valid token     Shao et al. 2024, arXiv 2402.03300
    dapo, cispo    number of valid tokens                Yu et al. 2025, arXiv 2503.14476
    dr_grpo        rows x maximal completion length      Liu et al. 2025, arXiv 2503.20783

What stands in a masked place never matters, NaN and infinity included: places are *selected*
(``torch.where``), not multiplied by zero, since 0 x NaN is NaN, forward and backward.

Shapes: B rows, T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class StepCounts:
    """How much one optimiser step holds, over all its micro-batches and ranks.

    Example: rows of 3 and 1 valid tokens, and a dead row:
        >>> mask_BT = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 0, 0]]).bool()
        >>> count(mask_BT)
        StepCounts(num_tokens=4, num_sequences=2)
    """

    num_tokens: float
    """Valid tokens."""
    num_sequences: float
    """Rows with at least one valid token. To count dead rows too, as TRL does, pass B here."""

    def __add__(self, other: StepCounts) -> StepCounts:
        """Return the counts of two micro-batches (or ranks) together."""
        return StepCounts(
            num_tokens=self.num_tokens + other.num_tokens,
            num_sequences=self.num_sequences + other.num_sequences,
        )


def count(mask_BT: Tensor) -> StepCounts:
    """Count the valid tokens and the rows that have any.

    Args:
        mask_BT: [B, T] bool, True at valid completion tokens.
    """
    return StepCounts(num_tokens=int(mask_BT.sum()), num_sequences=int(mask_BT.any(dim=-1).sum()))


def fill_masked(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Put 0 wherever the mask is False; no gradient, not even a NaN, passes through there.

    Args:
        values_BT: [B, T], or anything that broadcasts to it.
        mask_BT: [B, T] bool.

    Returns:
        [B, T].
    """
    return torch.where(mask_BT, values_BT, 0.0)


def token_sum(values_BT: Tensor, mask_BT: Tensor, denominator: float | Tensor) -> Tensor:
    """Sum over the valid tokens, divided by the denominator; every token weighs the same.

    Args:
        values_BT: [B, T].
        mask_BT: [B, T] bool.
        denominator: Positive, for the whole optimiser step.

    Returns:
        A scalar; 0 if nothing is valid.
    """
    return fill_masked(values_BT, mask_BT).sum() / denominator


def row_means(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Mean over the valid tokens of each row.

    Args:
        values_BT: [B, T].
        mask_BT: [B, T] bool.

    Returns:
        [B]; 0 for a row without a valid token.
    """
    return fill_masked(values_BT, mask_BT).sum(-1) / mask_BT.sum(-1).clamp(min=1)


def row_mean_sum(values_BT: Tensor, mask_BT: Tensor, denominator: float | Tensor) -> Tensor:
    """Sum of the rows' token means, divided by the denominator; every row weighs the same.

    Args:
        values_BT: [B, T]; rows must be whole, a row split over calls has no mean.
        mask_BT: [B, T] bool.
        denominator: Positive, for the whole optimiser step.

    Returns:
        A scalar; 0 if nothing is valid.
    """
    return row_means(values_BT, mask_BT).sum() / denominator
