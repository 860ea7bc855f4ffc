"""The ranked loss: the guide's formula, hand-worked numbers, ties, order, masks."""

import math

import pytest
import torch
from reference import ranked_loss_of_prompts

from atlas.objectives.ranked import ranked_loss, response_logprobs, scores_from_ranks


def double(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def one_prompt(logprobs, scores, **weights):
    """The loss of a single prompt whose responses are all there, and their gradient."""
    logprobs_PK = double([logprobs]).requires_grad_()
    mask_PK = torch.ones_like(logprobs_PK, dtype=torch.bool)
    result = ranked_loss(logprobs_PK, double([scores]), mask_PK, 1, **weights)
    return result, torch.autograd.grad(result.loss, logprobs_PK)[0][0]


def test_the_formula_of_the_guide():
    """softmax(rankings * temperature), -(log_probs * preferences).sum(), + 0.5 * pairwise."""
    log_probs, rankings, temperature = double([-1.2, -0.4, -2.0]), double([3.0, 1.0, 2.0]), 0.7
    preferences = torch.softmax(rankings * temperature, dim=-1)
    preference_loss = -(log_probs * preferences).sum()
    pairs = [(0, 1), (0, 2), (2, 1)]  # better, worse
    pairwise_loss = sum(-torch.sigmoid(log_probs[i] - log_probs[j]).log() for i, j in pairs) / 3
    result, _ = one_prompt(log_probs.tolist(), rankings.tolist(), sharpness=temperature)
    assert result.preference.item() == pytest.approx(preference_loss.item(), abs=1e-12)
    assert result.pairwise.item() == pytest.approx(float(pairwise_loss), abs=1e-12)
    expected = preference_loss + 0.5 * pairwise_loss
    assert result.loss.item() == pytest.approx(expected.item(), abs=1e-12)


def test_by_hand():
    # Scores ln 3 and 0: preferences 3/4 and 1/4. Log-probabilities -1 and -1 + ln 2.
    # Preference term: 3/4 + (1 - ln 2) / 4.
    # One pair, margin -ln 2: -log sigmoid(-ln 2) = log(1 + 2) = ln 3.
    result, grad_K = one_prompt([-1.0, -1.0 + math.log(2)], [math.log(3), 0.0])
    assert result.preference.item() == pytest.approx(1 - math.log(2) / 4)
    assert result.pairwise.item() == pytest.approx(math.log(3))
    # Pair gradient: -(1 - sigmoid(-ln 2)) = -2/3 to the better, +2/3 to the worse, times 1/2.
    assert grad_K.tolist() == pytest.approx([-3 / 4 - 1 / 3, -1 / 4 + 1 / 3])


def test_weights_scale_the_terms():
    result, _ = one_prompt([-1.0, -2.0], [0.0, 1.0], preference_weight=3.0, pairwise_weight=0.25)
    expected = 3 * result.preference + 0.25 * result.pairwise
    assert result.loss.item() == pytest.approx(expected.item())


def test_agrees_with_the_slow_reference_on_ragged_prompts():
    generator = torch.Generator().manual_seed(0)
    mask_PK = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 0], [0, 1, 0, 0], [1, 1, 0, 1]]).bool()
    logprobs_PK = torch.randn(4, 4, dtype=torch.float64, generator=generator).requires_grad_()
    scores_PK = torch.randint(3, (4, 4), generator=generator).double()  # with ties
    result = ranked_loss(logprobs_PK, scores_PK, mask_PK, 4, sharpness=1.5, pairwise_weight=0.8)
    expected = ranked_loss_of_prompts(
        [list(row[keep]) for row, keep in zip(logprobs_PK, mask_PK, strict=True)],
        [row[keep].tolist() for row, keep in zip(scores_PK, mask_PK, strict=True)],
        sharpness=1.5,
        preference_weight=1.0,
        pairwise_weight=0.8,
    )
    torch.testing.assert_close(result.loss, expected, rtol=1e-12, atol=0)
    got_PK, expected_PK = (
        torch.autograd.grad(loss, logprobs_PK)[0] for loss in (result.loss, expected)
    )
    torch.testing.assert_close(got_PK, expected_PK, rtol=1e-12, atol=1e-15)


def test_rank_one_is_the_best():
    scores_PK = scores_from_ranks(torch.tensor([[2, 1, 3, 1]]))
    assert scores_PK.argsort(descending=True, stable=True).tolist() == [[1, 3, 0, 2]]
    # The best response gets the largest share of the preference, i.e. the steepest descent.
    _, grad_K = one_prompt([-1.0] * 4, scores_PK[0].tolist(), pairwise_weight=0.0)
    # exp(-2), exp(-1), exp(-3), exp(-1), normalised
    weights = [math.exp(-rank) for rank in (2, 1, 3, 1)]
    assert grad_K.tolist() == pytest.approx([-w / sum(weights) for w in weights])


def test_raising_a_score_raises_the_preference_for_it():
    shares = [
        -one_prompt([-1.0, -1.0, -1.0], [s, 0.0, 1.0], pairwise_weight=0.0)[1][0].item()
        for s in (-2.0, -1.0, 0.0, 0.5, 1.0, 3.0)
    ]
    assert shares == sorted(set(shares))


def test_ties_make_no_pairs():
    result, grad_K = one_prompt([-1.0, -3.0, -2.0], [1.0, 1.0, 1.0])
    assert result.pairwise.item() == 0.0
    assert grad_K.tolist() == pytest.approx([-1 / 3] * 3)
    # Pairs (0, 2) and (1, 2) only: the mean is over two, not three.
    result, _ = one_prompt([-1.0, -3.0, -2.0], [1.0, 1.0, 0.0])
    expected = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(1))) / 2
    assert result.pairwise.item() == pytest.approx(expected)


def test_one_response_is_plain_likelihood():
    result, grad_K = one_prompt([-1.7], [0.3])
    assert (result.loss.item(), result.pairwise.item()) == (pytest.approx(1.7), 0.0)
    assert grad_K.tolist() == [-1.0]


def test_reversing_the_order_reverses_the_pairwise_gradient():
    weights = {"preference_weight": 0.0, "pairwise_weight": 1.0}
    _, forward_K = one_prompt([-1.0, -1.0, -1.0], [3.0, 2.0, 1.0], **weights)
    _, reverse_K = one_prompt([-1.0, -1.0, -1.0], [1.0, 2.0, 3.0], **weights)
    assert forward_K.tolist() == pytest.approx([-x for x in reverse_K.tolist()])
    assert forward_K[0] < 0 < forward_K[2]


def test_identical_responses_have_no_pairwise_gradient():
    """The same text ranked twice: what one copy gains the other loses, in every parameter."""
    parameter = double(0.3).requires_grad_()
    logprob = -parameter.exp()
    logprobs_PK = torch.stack([logprob, logprob]).unsqueeze(0)
    mask_PK = torch.ones(1, 2, dtype=torch.bool)
    result = ranked_loss(logprobs_PK, double([[2.0, 1.0]]), mask_PK, 1, preference_weight=0.0)
    assert result.pairwise.item() == pytest.approx(math.log(2))
    (grad,) = torch.autograd.grad(result.loss, parameter)
    assert grad.item() == 0.0


def test_order_of_responses_and_shift_of_scores_do_not_matter():
    result, grad_K = one_prompt([-1.0, -2.0, -0.5], [0.2, 0.9, 0.4], sharpness=2.0)
    moved, moved_K = one_prompt([-0.5, -1.0, -2.0], [10.4, 10.2, 10.9], sharpness=2.0)
    assert moved.loss.item() == pytest.approx(result.loss.item())
    assert moved_K.tolist() == pytest.approx(grad_K[[2, 0, 1]].tolist())


def test_garbage_in_missing_responses_never_leaks_and_prompts_add_up():
    mask_PK = torch.tensor([[1, 1, 0], [0, 0, 0], [1, 1, 1]]).bool()
    clean_PK = double([[-1.0, -2.0, 0.0], [0.0, 0.0, 0.0], [-1.0, -0.3, -0.7]])
    scores_PK = double([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
    dirty_PK = clean_PK.masked_fill(~mask_PK, math.nan).requires_grad_()
    dirty_scores_PK = scores_PK.masked_fill(~mask_PK, math.nan).requires_grad_()
    whole = ranked_loss(dirty_PK, dirty_scores_PK, mask_PK, 3)
    (grad_PK,) = torch.autograd.grad(whole.loss, dirty_PK)
    total = 0.0
    for p in range(3):
        keep = mask_PK[p]
        if keep.any():
            alone, alone_K = one_prompt(clean_PK[p, keep].tolist(), scores_PK[p, keep].tolist())
            total += alone.loss.item() / 3
            assert grad_PK[p, keep].tolist() == pytest.approx((alone_K / 3).tolist())
    assert whole.loss.item() == pytest.approx(total)
    assert not grad_PK[~mask_PK].any()
    assert torch.autograd.grad(
        ranked_loss(dirty_PK, dirty_scores_PK, mask_PK, 3).loss, dirty_scores_PK, allow_unused=True
    ) == (None,)


def test_gradcheck():
    scores_PK = double([[1.0, 2.0, 2.0], [0.5, 0.0, -1.0]])
    mask_PK = torch.tensor([[1, 1, 1], [1, 0, 1]]).bool()
    logprobs_PK = double([[-1.0, -0.2, -3.0], [-0.7, -1.5, -0.9]]).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: ranked_loss(x, scores_PK, mask_PK, 2, sharpness=0.8).loss, (logprobs_PK,)
    )


def test_response_logprobs_by_hand():
    logprobs_BT = double([[-1.0, -2.0, -6.0], [-4.0, math.nan, math.nan]])
    mask_BT = torch.tensor([[1, 1, 1], [1, 0, 0]]).bool()
    assert response_logprobs(logprobs_BT, mask_BT).tolist() == [-3.0, -4.0]
    assert response_logprobs(logprobs_BT, mask_BT, "sum").tolist() == [-9.0, -4.0]
