"""Cross-entropy: hand-worked number, agreement with torch's own, parts, masks."""

import math

import pytest
import torch

from atlas.objectives.cross_entropy import cross_entropy


def test_by_hand_with_garbage_in_masked_places():
    # Probabilities 1/2, 1/4 and 1/8: (1 + 2 + 3) ln 2 / 3
    logprobs_BT = torch.tensor([[0.5, 0.25, math.nan], [0.125, math.nan, math.nan]]).double().log()
    logprobs_BT.requires_grad_()
    mask_BT = torch.tensor([[1, 1, 0], [1, 0, 0]]).bool()
    loss = cross_entropy(logprobs_BT, mask_BT, 3)
    assert loss.item() == pytest.approx(2 * math.log(2))
    (grad_BT,) = torch.autograd.grad(loss, logprobs_BT)
    assert grad_BT.flatten().tolist() == pytest.approx([-1 / 3, -1 / 3, 0, -1 / 3, 0, 0])


def test_agrees_with_torch_whole_and_in_micro_batches():
    generator = torch.Generator().manual_seed(0)
    logits_BTV = torch.randn(4, 5, 7, dtype=torch.float64, generator=generator).requires_grad_()
    targets_BT = torch.randint(7, (4, 5), generator=generator)
    mask_BT = torch.rand(4, 5, generator=generator) < 0.6
    expected = torch.nn.functional.cross_entropy(logits_BTV[mask_BT], targets_BT[mask_BT])
    (expected_BTV,) = torch.autograd.grad(expected, logits_BTV)

    logprobs_BT = logits_BTV.log_softmax(-1).gather(-1, targets_BT.unsqueeze(-1)).squeeze(-1)
    parts = [
        cross_entropy(logprobs_BT[rows], mask_BT[rows], int(mask_BT.sum()))
        for rows in (slice(0, 1), slice(1, 4))
    ]
    total = parts[0] + parts[1]
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(torch.autograd.grad(total, logits_BTV)[0], expected_BTV)


def test_an_empty_step_is_zero():
    logprobs_BT = torch.full((2, 2), math.nan)
    assert cross_entropy(logprobs_BT, torch.zeros(2, 2, dtype=torch.bool), 0).item() == 0.0
