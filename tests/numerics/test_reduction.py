"""Reductions: hand-worked numbers, masks, and parts that add up to the whole."""

import math

import torch

from atlas.objectives.reduction import StepCounts, count, row_mean_sum, row_means, token_sum

# Rows of 3, 1 and 0 valid tokens.
VALUES_BT = torch.tensor([[1.0, 2.0, 6.0], [5.0, 0.0, 0.0], [7.0, 7.0, 7.0]], dtype=torch.float64)
MASK_BT = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 0, 0]]).bool()


def test_reductions_by_hand():
    # Valid: 1 + 2 + 6 + 5 = 14 in 4 tokens, 2 live rows.
    assert count(MASK_BT) == StepCounts(num_tokens=4, num_sequences=2)
    assert token_sum(VALUES_BT, MASK_BT, 4).item() == 14 / 4  # dapo
    assert token_sum(VALUES_BT, MASK_BT, 2 * 8).item() == 14 / 16  # dr_grpo, at most 8 tokens
    # Row means 9 / 3 = 3, 5, and 0 for the dead row.
    assert row_means(VALUES_BT, MASK_BT).tolist() == [3.0, 5.0, 0.0]
    assert row_mean_sum(VALUES_BT, MASK_BT, 2).item() == 4.0  # grpo
    assert row_mean_sum(VALUES_BT, MASK_BT, 3).item() == 8 / 3  # grpo as TRL: dead rows count


def test_counts_of_micro_batches_add_up():
    parts = [count(row_1T) for row_1T in MASK_BT.split(1)]
    assert parts[0] + parts[1] + parts[2] == count(MASK_BT)


def test_garbage_in_masked_places_never_leaks():
    garbage = torch.tensor([math.nan, math.inf, -math.inf], dtype=torch.float64)
    dirty_BT = torch.where(MASK_BT, VALUES_BT, garbage).requires_grad_()
    for reduce in (token_sum, row_mean_sum):
        value = reduce(dirty_BT, MASK_BT, 4.0)
        assert value.item() == reduce(VALUES_BT, MASK_BT, 4.0).item()
        (grad_BT,) = torch.autograd.grad(value, dirty_BT)
        assert (grad_BT[MASK_BT] > 0).all()
        assert grad_BT[~MASK_BT].tolist() == [0.0] * 5


def test_gradcheck():
    values_BT = VALUES_BT.clone().requires_grad_()
    for reduce in (token_sum, row_mean_sum):
        assert torch.autograd.gradcheck(lambda v, r=reduce: r(v, MASK_BT, 3.0), (values_BT,))
