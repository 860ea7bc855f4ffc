"""Truncated importance weights: hand-worked numbers, both levels, masks, no gradient."""

import math

import pytest
import torch

from atlas.objectives.importance import importance_weights

LN2, LN3 = math.log(2), math.log(3)
# Ratios 2, 3 and 1/2 in the first row; 3 and, masked, NaN in the second.
ROLLOUT_BT = torch.tensor([[-1.0, -2.0, -3.0], [-1.0, math.nan, -1.0]], dtype=torch.float64)
TRAINER_BT = ROLLOUT_BT + torch.tensor([[LN2, LN3, -LN2], [LN3, 0.0, math.nan]])
MASK_BT = torch.tensor([[1, 1, 1], [1, 0, 0]]).bool()


def test_token_level_by_hand():
    result = importance_weights(TRAINER_BT, ROLLOUT_BT, MASK_BT, cap=2.5, level="token")
    assert result.raw_BT.flatten().tolist() == pytest.approx([2, 3, 0.5, 3, 1, 1])
    assert result.weights_BT.flatten().tolist() == pytest.approx([2, 2.5, 0.5, 2.5, 1, 1])
    assert result.truncated_BT.tolist() == [[False, True, False], [True, False, False]]


def test_sequence_level_by_hand():
    # The product of the row's ratios, not their mean: 2 * 3 / 2 = 3, and 3.
    result = importance_weights(TRAINER_BT, ROLLOUT_BT, MASK_BT, cap=2.5, level="sequence")
    assert result.raw_BT.flatten().tolist() == pytest.approx([3, 3, 3, 3, 1, 1])
    assert result.weights_BT.flatten().tolist() == pytest.approx([2.5, 2.5, 2.5, 2.5, 1, 1])
    assert result.truncated_BT.tolist() == [[True] * 3, [True, False, False]]


def test_a_cap_below_one_does_not_touch_masked_places():
    result = importance_weights(TRAINER_BT, ROLLOUT_BT, MASK_BT, cap=0.5)
    assert result.weights_BT.flatten().tolist() == pytest.approx([0.5, 0.5, 0.5, 0.5, 1, 1])
    assert not result.truncated_BT[~MASK_BT].any()


def test_equal_engines_weigh_one_and_extremes_stay_finite():
    trainer_BT = torch.tensor([[-1.0, -0.1, -900.0]])
    rollout_BT = torch.tensor([[-1.0, -900.0, -0.1]])
    mask_BT = torch.ones(1, 3, dtype=torch.bool)
    result = importance_weights(trainer_BT, rollout_BT, mask_BT, cap=2.0)
    assert result.weights_BT.tolist() == [[1.0, 2.0, 0.0]]
    assert result.raw_BT[0, 1].item() == pytest.approx(math.exp(20), rel=1e-5)


def test_nothing_carries_a_gradient():
    trainer_BT = TRAINER_BT.clone().requires_grad_()
    rollout_BT = ROLLOUT_BT.clone().requires_grad_()
    result = importance_weights(trainer_BT, rollout_BT, MASK_BT)
    assert not result.weights_BT.requires_grad
    assert not result.raw_BT.requires_grad
