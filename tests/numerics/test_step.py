"""The whole update, from samples to the gradient of every weight, in float64.

Against a reference that runs every row alone and loops over its tokens, and under what must not
matter: the cut into micro-batches, the order of groups and members, padding.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import get_args

import pytest
import torch
from reference import Row, loss_of_rows
from tests.numerics.step_parts import (
    COMPLETIONS,
    MAX_LENGTH,
    PAD,
    PROMPTS,
    TEMPERATURE,
    G,
    HoldingEngine,
    assert_same,
    gradients_of,
    loss_settings,
    policy_and_reference,
    rows_alone,
    samples_of,
)
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel

from atlas.models.passes.forward import completion_logprobs
from atlas.models.passes.group_batch import group_batch
from atlas.objectives.loss_types import LossType
from atlas.training.update import update
from atlas.types import TrainSample

LOSS_TYPES = get_args(LossType)
# update() makes float32 of advantages and of the log-probabilities of the rollout engine.
EXACT = 1e-6


def step(
    model: PreTrainedModel,
    reference: PreTrainedModel,
    samples: list[TrainSample],
    loss_type: LossType = "dapo",
    *,
    max_tokens: int = 999,
) -> tuple[float, dict[str, Tensor]]:
    """Return loss and gradients of one update."""
    model.zero_grad()
    metrics = update(
        HoldingEngine(model),
        reference,
        samples,
        loss_settings(loss_type),
        temperature=TEMPERATURE,
        max_tokens=max_tokens,
    )
    return metrics["train/loss"], gradients_of(model)


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma3"])
@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_equals_rows_that_are_run_alone_and_looped_over(kind: str, loss_type: LossType) -> None:
    """No padding, no shared prompt, no mask, no micro-batch in the reference."""
    model, reference = policy_and_reference(kind)
    samples = samples_of(model)
    loss, gradients = step(model, reference, samples, loss_type)
    used = [sample for sample in samples if sample.advantage is not None]
    policy = rows_alone(model, used)
    ref = rows_alone(reference, used)
    rows = [
        Row(
            policy=list(logprobs_T),
            old=list(logprobs_T.detach()),
            rollout=[torch.tensor(value) for value in sample.rollout_logprobs],
            ref=list(ref_T),
            advantage=sample.advantage or 0.0,
        )
        for sample, logprobs_T, ref_T in zip(used, policy, ref, strict=True)
    ]
    expected = loss_of_rows(
        rows,
        loss_type,
        beta=0.04,
        epsilon_low=0.2,
        epsilon_high=0.2,
        cap=1.2,
        max_length=MAX_LENGTH,
    )
    model.zero_grad()
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=EXACT)
    assert_same(gradients, gradients_of(model), EXACT)


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
@pytest.mark.parametrize("max_tokens", [1, 12, 16])
def test_the_cut_into_micro_batches_does_not_matter(loss_type: LossType, max_tokens: int) -> None:
    model, reference = policy_and_reference()
    samples = samples_of(model)
    loss, gradients = step(model, reference, samples, loss_type)
    cut_loss, cut = step(model, reference, samples, loss_type, max_tokens=max_tokens)
    assert cut_loss == pytest.approx(loss, rel=EXACT)
    assert_same(cut, gradients, EXACT)


def test_the_order_of_groups_and_of_members_does_not_matter() -> None:
    model, reference = policy_and_reference()
    samples = samples_of(model)
    groups = [samples[i : i + G] for i in range(0, len(samples), G)]
    mixed = [groups[g][m] for g in (2, 0, 3, 1) for m in (1, 2, 0)]
    loss, gradients = step(model, reference, samples)
    mixed_loss, found = step(model, reference, mixed)
    assert mixed_loss == pytest.approx(loss, rel=EXACT)
    assert_same(found, gradients, EXACT)


def test_a_dead_group_does_not_matter() -> None:
    model, reference = policy_and_reference()
    samples = samples_of(model)
    assert all(sample.advantage is None for sample in samples[G : 2 * G])
    loss, gradients = step(model, reference, samples, "grpo")
    live_loss, live = step(model, reference, samples[:G] + samples[2 * G :], "grpo")
    assert live_loss == pytest.approx(loss, rel=EXACT)
    assert_same(live, gradients, EXACT)


def test_a_member_without_an_advantage_teaches_nothing() -> None:
    """Whatever it says: another completion in its place leaves loss and gradients as they are."""
    model, reference = policy_and_reference()
    samples = samples_of(model)
    assert samples[-1].advantage is None
    assert samples[-2].advantage is not None
    other = replace(samples[-1], completion_ids=(30, 31, 32), rollout_logprobs=(-50.0, 0.0, -9.0))
    loss, gradients = step(model, reference, samples)
    other_loss, found = step(model, reference, [*samples[:-1], other])
    assert other_loss == pytest.approx(loss, rel=EXACT)
    assert_same(found, gradients, EXACT)


@pytest.mark.parametrize("kind", ["llama", "gemma3"])
@pytest.mark.parametrize(("left", "right", "fill"), [(5, 0, PAD), (0, 3, PAD), (2, 1, 33)])
def test_padding_does_not_matter(kind: str, left: int, right: int, fill: int) -> None:
    """More of it, of the prompts on the left and of the completions on the right; of any token."""
    model, _ = policy_and_reference(kind)
    batch = group_batch(PROMPTS, COMPLETIONS, fill)
    padded = replace(
        batch,
        prompt_ids_PL=pad(batch.prompt_ids_PL, (left, 0), value=fill),
        prompt_mask_PL=pad(batch.prompt_mask_PL, (left, 0), value=0),
        completion_ids_BT=pad(batch.completion_ids_BT, (0, right), value=fill),
        mask_BT=pad(batch.mask_BT, (0, right), value=False),
    )
    found = {}
    for name, one in (("plain", group_batch(PROMPTS, COMPLETIONS, PAD)), ("padded", padded)):
        other = copy.deepcopy(model)
        logprobs_BT = completion_logprobs(other, one).logprobs_BT
        weights_BT = torch.linspace(-1, 1, logprobs_BT[:, :MAX_LENGTH].numel()).double()
        (logprobs_BT[:, :MAX_LENGTH].flatten() @ weights_BT).backward()
        found[name] = (logprobs_BT.detach(), gradients_of(other))
    plain_BT, plain = found["plain"]
    padded_BT, gradients = found["padded"]
    tolerance = 1e-6 if kind == "gemma3" else 1e-10  # Gemma normalises in float32
    torch.testing.assert_close(padded_BT[:, :MAX_LENGTH], plain_BT, rtol=0, atol=tolerance)
    assert not padded_BT[:, MAX_LENGTH:].any()
    assert_same(gradients, plain, tolerance)
