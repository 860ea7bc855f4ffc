"""The three surrogates: hand-worked numbers, where the gradient stops, and gradcheck."""

import math

import pytest
import torch

from atlas.objectives.cispo import cispo_surrogate
from atlas.objectives.gspo import sequence_surrogate
from atlas.objectives.surrogate import SurrogateInputs, token_surrogate

SURROGATES = (token_surrogate, sequence_surrogate, cispo_surrogate)


def inputs_with_ratios(ratios_BT, advantages, mask_BT=None):
    """Old log-probabilities of -1, and a policy that stands in the given ratios to it."""
    old_BT = torch.full((len(ratios_BT), len(ratios_BT[0])), -1.0, dtype=torch.float64)
    policy_BT = (old_BT + torch.tensor(ratios_BT, dtype=torch.float64).log()).requires_grad_()
    return SurrogateInputs(
        policy_logprobs_BT=policy_BT,
        old_logprobs_BT=old_BT,
        advantages_BT=torch.tensor(advantages, dtype=torch.float64).view(len(ratios_BT), -1),
        mask_BT=torch.ones_like(old_BT, dtype=torch.bool) if mask_BT is None else mask_BT,
    )


def gradient(terms, inputs):
    mask_BT, policy_BT = inputs.mask_BT, inputs.policy_logprobs_BT
    return torch.autograd.grad(terms.loss_BT[mask_BT].sum(), policy_BT)[0]


def test_token_surrogate_by_hand():
    # Bounds 0.8 and 1.3. Objective min(rho A, clip(rho) A), the loss is its negative:
    # A = +2: 0.5 -> min(1.0, 1.6) = 1.0;   1.1 -> 2.2;   2.0 -> min(4.0, 2.6) = 2.6 (clipped)
    # A = -2: 0.5 -> min(-1.0, -1.6) = -1.6 (clipped);   1.1 -> -2.2;   2.0 -> min(-4.0, -2.6) = -4
    inputs = inputs_with_ratios([[0.5, 1.1, 2.0], [0.5, 1.1, 2.0]], [2.0, -2.0])
    terms = token_surrogate(inputs, 0.2, 0.3)
    assert terms.loss_BT.flatten().tolist() == pytest.approx([-1.0, -2.2, -2.6, 1.6, 2.2, 4.0])
    assert terms.clipped_low_BT.tolist() == [[False] * 3, [True, False, False]]
    assert terms.clipped_high_BT.tolist() == [[False, False, True], [False] * 3]
    assert terms.ratio_BT.flatten().tolist() == pytest.approx([0.5, 1.1, 2.0] * 2)
    # Gradient -rho A where not clipped (d rho / d policy = rho), exactly 0 where clipped.
    grad_BT = gradient(terms, inputs)
    assert grad_BT.flatten().tolist() == pytest.approx([-1.0, -2.2, 0.0, 0.0, 2.2, 4.0])
    assert grad_BT[0, 2].item() == 0.0
    assert grad_BT[1, 0].item() == 0.0


def test_sequence_surrogate_by_hand():
    # Row 0: ratios 4, 1, 2: geometric mean 8^(1/3) = 2, clipped at 1.3 for A = 1.
    # Row 1: ratios 4, 1, and a masked third: sqrt(4) = 2, not clipped for A = -1.
    mask_BT = torch.tensor([[1, 1, 1], [1, 1, 0]]).bool()
    inputs = inputs_with_ratios([[4.0, 1.0, 2.0], [4.0, 1.0, 9.0]], [1.0, -1.0], mask_BT)
    terms = sequence_surrogate(inputs, 0.2, 0.3)
    assert terms.loss_BT[mask_BT].tolist() == pytest.approx([-1.3, -1.3, -1.3, 2.0, 2.0])
    assert terms.clipped_high_BT[mask_BT].tolist() == [True, True, True, False, False]
    # d s / d policy_t = s / T, and the row's loss stands at both tokens: 2 * 2 / 2 = 2 each.
    grad_BT = gradient(terms, inputs)
    assert grad_BT.flatten().tolist() == pytest.approx([0, 0, 0, 2.0, 2.0, 0])


def test_cispo_by_hand():
    # Weights min(rho, 1.3): 0.5, 1.1, 1.3; loss -w A (ln rho - 1), gradient -w A, never 0.
    inputs = inputs_with_ratios([[0.5, 1.1, 2.0], [0.5, 1.1, 2.0]], [2.0, -2.0])
    terms = cispo_surrogate(inputs, 0.2, 0.3)
    weights = [0.5, 1.1, 1.3]
    expected = [-w * 2 * (math.log(r) - 1) for w, r in zip(weights, [0.5, 1.1, 2.0], strict=True)]
    assert terms.loss_BT[0].tolist() == pytest.approx(expected)
    assert terms.loss_BT[1].tolist() == pytest.approx([-x for x in expected])
    assert gradient(terms, inputs)[0].tolist() == pytest.approx([-2 * w for w in weights])
    assert terms.clipped_high_BT.tolist() == [[False, False, True]] * 2


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_on_policy_gradient_is_reinforce(surrogate):
    inputs = inputs_with_ratios([[1.0, 1.0], [1.0, 1.0]], [0.7, -1.9])
    # Even where the range is a single point.
    for epsilon in (0.2, 0.0):
        grad_BT = gradient(surrogate(inputs, epsilon, epsilon), inputs)
        assert grad_BT.flatten().tolist() == pytest.approx([-0.7, -0.7, 1.9, 1.9], abs=1e-14)


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("garbage", [math.nan, math.inf, -math.inf])
def test_garbage_in_masked_places_never_leaks_and_only_the_policy_learns(surrogate, garbage):
    mask_BT = torch.tensor([[1, 0], [0, 0], [1, 1]]).bool()
    clean = inputs_with_ratios([[1.5, 1.0], [1.0, 1.0], [0.9, 0.4]], [1.0, 0.0, -2.0], mask_BT)
    dirty = SurrogateInputs(
        policy_logprobs_BT=clean.policy_logprobs_BT.detach()
        .masked_fill(~mask_BT, garbage)
        .requires_grad_(),
        old_logprobs_BT=clean.old_logprobs_BT.masked_fill(~mask_BT, garbage).requires_grad_(),
        advantages_BT=torch.tensor([[1.0], [garbage], [-2.0]]).double().requires_grad_(),
        mask_BT=mask_BT,
    )
    terms = surrogate(dirty, 0.2, 0.3)
    expected = surrogate(clean, 0.2, 0.3)
    assert torch.equal(terms.loss_BT[mask_BT], expected.loss_BT[mask_BT])
    if surrogate is not sequence_surrogate:
        assert (terms.ratio_BT[~mask_BT] == 1).all()
    # All places, as a reduction hands back a zero gradient for the masked ones.
    terms.loss_BT.backward(mask_BT.double())
    assert dirty.policy_logprobs_BT.grad is not None
    assert torch.equal(dirty.policy_logprobs_BT.grad, gradient(expected, clean))
    assert dirty.old_logprobs_BT.grad is None
    assert dirty.advantages_BT.grad is None


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_infinite_ratios_leave_loss_and_gradient_finite(surrogate):
    inputs = inputs_with_ratios([[1.0, 1.0], [1.0, 1.0]], [1.0, -1.0])
    far_BT = (inputs.old_logprobs_BT + 1e4).requires_grad_()
    inputs = SurrogateInputs(
        policy_logprobs_BT=far_BT,
        old_logprobs_BT=inputs.old_logprobs_BT,
        advantages_BT=inputs.advantages_BT,
        mask_BT=inputs.mask_BT,
    )
    terms = surrogate(inputs, 0.2, 0.2)
    assert terms.ratio_BT.flatten().tolist() == pytest.approx([math.exp(20)] * 4)
    grad_BT = gradient(terms, inputs)
    # The minimum clips for A > 0, the bound on the log ratio stops A < 0; CISPO goes on at 1.2.
    expected = [-1.2, -1.2, 1.2, 1.2] if surrogate is cispo_surrogate else [0.0] * 4
    assert grad_BT.flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize("surrogate", [token_surrogate, sequence_surrogate])
def test_gradcheck(surrogate):
    # Away from the corners, where the function has no gradient to check; both sides are there.
    inputs = inputs_with_ratios([[0.5, 1.1, 2.0], [0.9, 0.4, 0.7]], [1.5, -0.5])

    def loss(policy_BT):
        return surrogate(
            SurrogateInputs(
                policy_logprobs_BT=policy_BT,
                old_logprobs_BT=inputs.old_logprobs_BT,
                advantages_BT=inputs.advantages_BT,
                mask_BT=inputs.mask_BT,
            ),
            0.2,
            0.3,
        ).loss_BT

    assert torch.autograd.gradcheck(loss, (inputs.policy_logprobs_BT,))


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_one_advantage_a_token(surrogate):
    """Each token has the loss of a row with its advantage; a masked one may have any."""
    mask_BT = torch.tensor([[1, 1, 0]]).bool()
    ratios_BT, by_token = [[0.5, 2.0, 1.0]], [2.0, -1.0, math.nan]
    found = surrogate(inputs_with_ratios(ratios_BT, [by_token], mask_BT), 0.2, 0.3)
    for place in (0, 1):
        inputs = inputs_with_ratios(ratios_BT, [by_token[place]], mask_BT)
        assert found.loss_BT[0, place] == surrogate(inputs, 0.2, 0.3).loss_BT[0, place]
    even = surrogate(inputs_with_ratios(ratios_BT, [[2.0] * 3], mask_BT), 0.2, 0.3)
    a_row = surrogate(inputs_with_ratios(ratios_BT, [2.0], mask_BT), 0.2, 0.3)
    assert torch.equal(even.loss_BT[mask_BT], a_row.loss_BT[mask_BT])
