"""The whole online loss: hand-worked numbers, the slow reference, the laws, the invariances."""

import math
from dataclasses import replace
from typing import get_args

import pytest
import torch
from reference import Row, loss_of_rows

from atlas.objectives.loss import LossInputs, grpo_loss
from atlas.objectives.loss_types import LossSettings, LossType, denominator
from atlas.objectives.reduction import StepCounts, count

LOSS_TYPES = get_args(LossType)
LENGTHS = (5, 1, 3, 4, 2, 5, 0, 3)  # of eight rows; one is dead
MAX_LENGTH = 6


def loss_settings(loss_type, **changes):
    changes = {"max_completion_length": MAX_LENGTH, "epsilon_high": 0.3, **changes}
    return LossSettings(loss_type=loss_type, **changes)


def batch(seed=0, width=5) -> LossInputs:
    """Eight ragged rows, padded on the right, off policy enough that clips and caps bind."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    policy_BT = -2 + 0.5 * normal(8, width)
    old_BT = policy_BT + 0.6 * normal(8, width)
    mask_BT = torch.arange(width) < torch.tensor(LENGTHS).unsqueeze(-1)
    return LossInputs(
        policy_logprobs_BT=policy_BT.requires_grad_(),
        old_logprobs_BT=old_BT.detach(),
        rollout_logprobs_BT=(old_BT + 0.6 * normal(8, width)).detach(),
        ref_logprobs_BT=(policy_BT + 0.5 * normal(8, width)).detach(),
        advantages_BT=normal(8, 1),
        mask_BT=mask_BT,
        step_counts=count(mask_BT),
    )


TENSORS_BT = ("policy_logprobs_BT", "old_logprobs_BT", "rollout_logprobs_BT", "ref_logprobs_BT")


def map_tensors(inputs: LossInputs, function) -> LossInputs:
    """Apply ``function`` to every [B, T] tensor and the mask; the policy stays differentiable."""
    changed = {name: function(getattr(inputs, name)) for name in (*TENSORS_BT, "mask_BT")}
    return replace(inputs, **changed)


def loss_and_gradient(inputs: LossInputs, settings: LossSettings, leaf=None):
    loss = grpo_loss(inputs, settings).loss
    (grad,) = torch.autograd.grad(loss, inputs.policy_logprobs_BT if leaf is None else leaf)
    return loss.detach(), grad


# ---- numbers by hand -------------------------------------------------------------------------


def hand_batch() -> LossInputs:
    """Two rows; ratios (2, 1) and (1/2); ref above policy by ln 2 at the first token of each."""
    policy_BT = torch.tensor([[-1.0, -1.0], [-1.0, math.nan]], dtype=torch.float64)
    ln2_BT = torch.tensor([[1, 0], [1, 0]], dtype=torch.float64) * math.log(2)
    mask_BT = torch.tensor([[1, 1], [1, 0]]).bool()
    return LossInputs(
        policy_logprobs_BT=policy_BT.clone().requires_grad_(),
        old_logprobs_BT=policy_BT - ln2_BT * torch.tensor([[1], [-1]]),
        ref_logprobs_BT=policy_BT + ln2_BT,
        advantages_BT=torch.tensor([[1.0], [-2.0]], dtype=torch.float64),
        mask_BT=mask_BT,
        step_counts=count(mask_BT),
    )


# Token losses with eps 0.2 and 0.3, without KL:
#   row 0, A = 1:    -min(2, 1.3) = -1.3  and -1
#   row 1, A = -2:   -min(-1, -1.6) = 1.6
# KL (k3) is 2 - ln 2 - 1 = 1 - ln 2 =: k at the first token of each row, else 0.
# gspo: s = sqrt(2) -> 1.3 in row 0, 1/2 -> 0.8 in row 1.
# cispo: weights min(rho, 1.3) = 1.3, 1 and 0.5; token losses -w A (-1) = 1.3, 1 and -1.
K = 1 - math.log(2)
HAND = {
    "grpo": ((-1.3 - 1) / 2 + 1.6) / 2 + 0.04 * (K / 2 + K) / 2,
    "dapo": (-1.3 - 1 + 1.6) / 3 + 0.04 * 2 * K / 3,
    "dr_grpo": (-1.3 - 1 + 1.6) / 12 + 0.04 * 2 * K / 12,
    "gspo": (-1.3 + 1.6) / 2 + 0.04 * (K / 2 + K) / 2,
    "cispo": (1.3 + 1 - 1) / 3 + 0.04 * 2 * K / 3,
}


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_loss_by_hand(loss_type):
    loss = grpo_loss(hand_batch(), loss_settings(loss_type)).loss
    assert loss.item() == pytest.approx(HAND[loss_type], abs=1e-12)


def test_metrics_by_hand():
    # The engine was half as sure of the first token of each row as the trainer: ratios 2, 1, 2.
    inputs = hand_batch()
    assert inputs.old_logprobs_BT is not None
    ln2 = math.log(2)
    rollout_BT = inputs.old_logprobs_BT - torch.tensor([[ln2, 0.0], [ln2, 0.0]])
    outputs = grpo_loss(
        replace(inputs, rollout_logprobs_BT=rollout_BT), loss_settings("dapo", importance_cap=1.5)
    )
    assert {name: value.item() for name, value in outputs.metrics.items()} == pytest.approx(
        {
            "ratio_mean": (2 + 1 + 0.5) / 3,
            "clip_ratio_low": 1 / 3,
            "clip_ratio_high": 1 / 3,
            "clip_ratio": 2 / 3,
            "kl": 2 * K / 2,  # of two rows
            "kl_per_token": 2 * K / 3,  # of three tokens
            "kl_k1_per_token": -2 * ln2 / 3,
            "importance_ratio_mean": (2 + 1 + 2) / 3,  # before the cap of 1.5
            "importance_truncated": 2 / 3,
            "mismatch_kl": 2 * K / 3,
        }
    )
    maxima = {name: value.item() for name, value in outputs.maxima.items()}
    assert maxima == pytest.approx({"ratio_max": 2.0, "importance_ratio_max": 2.0})
    # The cap weighs the surrogate, not the KL: (-1.3 * 1.5 - 1 + 1.6 * 1.5) / 3
    assert outputs.loss.item() == pytest.approx((-1.95 - 1 + 2.4) / 3 + 0.04 * 2 * K / 3)


def test_denominators_by_hand():
    counts = StepCounts(num_tokens=90, num_sequences=7)
    expected = {"grpo": 7, "dapo": 90, "dr_grpo": 7 * MAX_LENGTH, "gspo": 7, "cispo": 90}
    for loss_type in LOSS_TYPES:
        assert denominator(counts, loss_settings(loss_type)) == expected[loss_type]


# ---- the slow reference ----------------------------------------------------------------------


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_agrees_with_the_slow_reference(loss_type, seed):
    inputs = batch(seed)
    old_BT, rollout_BT, ref_BT = (getattr(inputs, name) for name in TENSORS_BT[1:])
    rows = [
        Row(
            policy=list(inputs.policy_logprobs_BT[b, :length]),
            old=list(old_BT[b, :length]),
            rollout=list(rollout_BT[b, :length]),
            ref=list(ref_BT[b, :length]),
            advantage=inputs.advantages_BT[b].item(),
        )
        for b, length in enumerate(LENGTHS)
        if length
    ]
    expected = loss_of_rows(
        rows,
        loss_type,
        beta=0.04,
        epsilon_low=0.2,
        epsilon_high=0.3,
        cap=1.5,
        max_length=MAX_LENGTH,
    )
    loss, grad_BT = loss_and_gradient(inputs, loss_settings(loss_type, importance_cap=1.5))
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-12, atol=1e-13)
    (expected_BT,) = torch.autograd.grad(expected, inputs.policy_logprobs_BT)
    torch.testing.assert_close(grad_BT, expected_BT, rtol=1e-12, atol=1e-13)


# ---- laws ------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_on_policy_gradient_is_reinforce(loss_type):
    """- A / denominator at each valid token, a row mean on top where the reduction has one."""
    inputs = replace(batch(), old_logprobs_BT=None, rollout_logprobs_BT=None, ref_logprobs_BT=None)
    settings = loss_settings(loss_type, beta=0.0)
    _, grad_BT = loss_and_gradient(inputs, settings)
    counts = inputs.step_counts
    lengths_B1 = torch.tensor(LENGTHS).double().clamp(min=1).unsqueeze(-1)
    share_B1 = 1 / lengths_B1 / counts.num_sequences
    if loss_type in ("dapo", "cispo"):
        share_B1 = 1 / counts.num_tokens
    elif loss_type == "dr_grpo":
        share_B1 = 1 / (counts.num_sequences * MAX_LENGTH)
    expected_BT = -inputs.advantages_BT * share_B1 * inputs.mask_BT
    torch.testing.assert_close(grad_BT, expected_BT, rtol=1e-12, atol=0)
    # Saying so (old = policy) and leaving it out are the same.
    said = replace(inputs, old_logprobs_BT=inputs.policy_logprobs_BT)
    assert torch.equal(loss_and_gradient(said, settings)[1], grad_BT)


@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo"])
def test_clipped_tokens_get_exactly_no_gradient(loss_type):
    inputs = replace(batch(), rollout_logprobs_BT=None)
    _, grad_BT = loss_and_gradient(inputs, loss_settings(loss_type, beta=0.0))
    assert inputs.old_logprobs_BT is not None
    ratio_BT = (inputs.policy_logprobs_BT - inputs.old_logprobs_BT).exp()
    better_B1 = inputs.advantages_BT > 0
    clipped_BT = torch.where(better_B1, ratio_BT > 1.3, ratio_BT < 0.8)
    assert (clipped_BT & inputs.mask_BT).sum() >= 4
    assert (grad_BT[clipped_BT] == 0).all()
    assert (grad_BT[~clipped_BT & inputs.mask_BT] != 0).all()


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_only_the_policy_gets_a_gradient(loss_type):
    inputs = batch()
    others = {name: getattr(inputs, name).clone().requires_grad_() for name in TENSORS_BT[1:]}
    advantages_BT = inputs.advantages_BT.clone().requires_grad_()
    inputs = replace(inputs, advantages_BT=advantages_BT, **others)
    grpo_loss(inputs, loss_settings(loss_type)).loss.backward()
    assert inputs.policy_logprobs_BT.grad is not None
    assert inputs.policy_logprobs_BT.grad.abs().sum() > 0
    assert all(other.grad is None for other in (*others.values(), advantages_BT))


def test_without_advantages_the_gradient_is_beta_times_that_of_the_kl():
    inputs = replace(batch(), advantages_BT=torch.zeros(8, 1, dtype=torch.float64))
    _, grad_BT = loss_and_gradient(inputs, loss_settings("dapo", beta=0.5))
    assert inputs.ref_logprobs_BT is not None
    difference_BT = inputs.ref_logprobs_BT - inputs.policy_logprobs_BT
    expected_BT = 0.5 * (1 - difference_BT.exp()) * inputs.mask_BT / inputs.step_counts.num_tokens
    torch.testing.assert_close(grad_BT, expected_BT)


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_with_beta_zero_the_kl_is_logged_and_changes_nothing(loss_type):
    settings = loss_settings(loss_type, beta=0.0)
    inputs = batch()
    outputs = grpo_loss(inputs, settings)
    without = loss_and_gradient(replace(inputs, ref_logprobs_BT=None), settings)
    assert torch.equal(outputs.loss, without[0])
    assert torch.equal(loss_and_gradient(inputs, settings)[1], without[1])
    with_beta = grpo_loss(inputs, loss_settings(loss_type))
    assert torch.equal(outputs.metrics["kl"], with_beta.metrics["kl"])
    # Not even where the reference rules a token out and the KL is infinite.
    assert inputs.ref_logprobs_BT is not None
    impossible_BT = inputs.ref_logprobs_BT.clone()
    impossible_BT[0, 0] = -math.inf
    impossible = replace(inputs, ref_logprobs_BT=impossible_BT)
    assert torch.equal(grpo_loss(impossible, settings).loss, outputs.loss)


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
@pytest.mark.parametrize("kl_estimator", ["k1", "k2", "k3"])
def test_garbage_in_masked_places_never_leaks(loss_type, kl_estimator):
    clean, settings = batch(), loss_settings(loss_type, kl_estimator=kl_estimator)
    dirty_advantages_BT = clean.advantages_BT.clone()
    dirty_advantages_BT[LENGTHS.index(0)] = math.nan
    for garbage in (math.nan, math.inf, -math.inf):
        dirty = map_tensors(
            replace(clean, advantages_BT=dirty_advantages_BT),
            lambda x, g=garbage: (
                x if x.dtype == torch.bool else torch.where(clean.mask_BT, x.detach(), g)
            ),
        )
        dirty.policy_logprobs_BT.requires_grad_()
        for got, expected in zip(
            loss_and_gradient(dirty, settings), loss_and_gradient(clean, settings), strict=True
        ):
            assert torch.equal(got, expected)
        metrics, expected_metrics = (grpo_loss(x, settings).metrics for x in (dirty, clean))
        assert metrics == expected_metrics


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_a_step_without_valid_tokens_is_zero(loss_type):
    inputs = batch()
    mask_BT = torch.zeros_like(inputs.mask_BT)
    inputs = replace(inputs, mask_BT=mask_BT, step_counts=count(mask_BT))
    loss, grad_BT = loss_and_gradient(inputs, loss_settings(loss_type))
    assert loss.item() == 0.0
    assert not grad_BT.any()


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_a_dead_group_only_counts_where_the_caller_counts_it(loss_type):
    """Ours: the dead row is in no denominator. TRL's: all B rows are, which shrinks the loss."""
    settings = loss_settings(loss_type)
    inputs = batch()
    alive = torch.tensor(LENGTHS) > 0
    kept = map_tensors(inputs, lambda x: x[alive])
    kept = replace(kept, advantages_BT=inputs.advantages_BT[alive])
    ours = grpo_loss(inputs, settings).loss
    torch.testing.assert_close(grpo_loss(kept, settings).loss, ours, rtol=1e-13, atol=0)
    all_rows = replace(inputs.step_counts, num_sequences=8)
    theirs = grpo_loss(replace(inputs, step_counts=all_rows), settings).loss
    shrunk = 1.0 if loss_type in ("dapo", "cispo") else 7 / 8
    torch.testing.assert_close(theirs, ours * shrunk, rtol=1e-13, atol=0)


# ---- invariances -----------------------------------------------------------------------------


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
@pytest.mark.parametrize(("left", "right"), [(0, 4), (3, 0), (2, 5)])
def test_padding_side_and_amount_do_not_matter(loss_type, left, right):
    inputs, settings = batch(), loss_settings(loss_type)

    def pad(x_BT):
        fill = False if x_BT.dtype == torch.bool else -7.0
        return torch.nn.functional.pad(x_BT, (left, right), value=fill)

    padded = map_tensors(inputs, pad)
    loss, grad_BT = loss_and_gradient(inputs, settings)
    got, got_BT = loss_and_gradient(padded, settings, leaf=inputs.policy_logprobs_BT)
    torch.testing.assert_close(got, loss, rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(got_BT, grad_BT, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_row_order_does_not_matter(loss_type):
    inputs, settings = batch(), loss_settings(loss_type)
    order = [3, 7, 0, 6, 2, 5, 1, 4]
    shuffled = map_tensors(inputs, lambda x: x[order])
    shuffled = replace(shuffled, advantages_BT=inputs.advantages_BT[order])
    loss, grad_BT = loss_and_gradient(inputs, settings)
    got, got_BT = loss_and_gradient(shuffled, settings, leaf=inputs.policy_logprobs_BT)
    torch.testing.assert_close(got, loss, rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(got_BT, grad_BT, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
@pytest.mark.parametrize("sizes", [(1,) * 8, (8,), (3, 1, 4), (6, 2)])
def test_micro_batches_add_up_to_the_big_batch(loss_type, sizes):
    """Loss, gradient and metrics; the counts, too, are the sum of those of the micro-batches."""
    inputs = batch()
    settings = loss_settings(loss_type, importance_level="sequence")
    whole = grpo_loss(inputs, settings)
    loss, grad_BT = loss_and_gradient(inputs, settings)

    bounds = [(sum(sizes[:i]), sum(sizes[: i + 1])) for i in range(len(sizes))]
    counts = [count(inputs.mask_BT[start:stop]) for start, stop in bounds]
    assert sum(counts[1:], counts[0]) == inputs.step_counts
    total, total_BT = torch.zeros_like(loss), torch.zeros_like(grad_BT)
    metrics = dict.fromkeys(whole.metrics, 0.0)
    maxima = dict.fromkeys(whole.maxima, 0.0)
    for start, stop in bounds:
        part = map_tensors(inputs, lambda x, rows=slice(start, stop): x[rows])
        part = replace(part, advantages_BT=inputs.advantages_BT[start:stop])
        outputs = grpo_loss(part, settings)
        total += outputs.loss.detach()
        total_BT += torch.autograd.grad(outputs.loss, inputs.policy_logprobs_BT)[0]
        metrics = {k: v + outputs.metrics[k].item() for k, v in metrics.items()}
        maxima = {k: max(v, outputs.maxima[k].item()) for k, v in maxima.items()}
    torch.testing.assert_close(total, loss, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(total_BT, grad_BT, rtol=1e-12, atol=1e-14)
    assert metrics == pytest.approx({k: v.item() for k, v in whole.metrics.items()})
    assert maxima == pytest.approx({k: v.item() for k, v in whole.maxima.items()})


# ---- gradcheck and refusals ------------------------------------------------------------------


@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo", "gspo"])
@pytest.mark.parametrize("kl_estimator", ["k1", "k2", "k3"])
def test_gradcheck(loss_type, kl_estimator):
    """Not cispo: its loss is no estimate of what it descends, by definition."""
    inputs = batch(seed=4)
    settings = loss_settings(loss_type, kl_estimator=kl_estimator)

    def loss(policy_BT):
        return grpo_loss(replace(inputs, policy_logprobs_BT=policy_BT), settings).loss

    assert torch.autograd.gradcheck(loss, (inputs.policy_logprobs_BT,))


def test_beta_without_a_reference_is_refused():
    with pytest.raises(ValueError, match=r"beta is 0.04.*ref_logprobs_BT"):
        grpo_loss(replace(batch(), ref_logprobs_BT=None), loss_settings("grpo"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss_type": "ppo"}, "loss_type is 'ppo'.*dr_grpo"),
        ({"kl_estimator": "k4"}, "kl_estimator is 'k4'.*k3"),
        ({"importance_level": "row"}, "importance_level is 'row'.*sequence"),
        ({"epsilon_low": -0.1}, "epsilon_low is -0.1"),
        ({"importance_cap": 0.0}, "importance_cap is 0.0"),
        ({"loss_type": "dr_grpo", "max_completion_length": None}, "max_completion_length"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        loss_settings(**{"loss_type": "grpo", **changes})
