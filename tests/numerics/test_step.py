"""The whole update, from samples to the gradient of every weight, in float64.

Against a reference that runs every row alone and loops over its tokens, and under what must not
matter: the cut into micro-batches, the order of groups and members.
"""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch
from reference import Row, loss_of_rows
from tests.numerics.step_parts import (
    MAX_LENGTH,
    TEMPERATURE,
    G,
    HoldingEngine,
    assert_same,
    gradients_of,
    loss_settings,
    places_of,
    policy_and_reference,
    rows_alone,
    samples_of,
)
from torch import Tensor
from transformers import PreTrainedModel

from atlas.objectives.loss_types import LossType
from atlas.training.update import UpdateSettings, update
from atlas.types import Tokens

LOSS_TYPES = get_args(LossType)
# update() makes float32 of advantages and of the log-probabilities of the rollout engine.
EXACT = 1e-6


def step(
    model: PreTrainedModel,
    reference: PreTrainedModel,
    samples: list[Tokens],
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
        UpdateSettings(
            loss=loss_settings(loss_type), temperature=TEMPERATURE, max_tokens=max_tokens
        ),
    )
    return metrics["train/loss"], gradients_of(model)


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma3"])
@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_equals_rows_that_are_run_alone_and_looped_over(kind: str, loss_type: LossType) -> None:
    """No padding, no shared prompt, no mask, no micro-batch in the reference."""
    model, reference = policy_and_reference(kind)
    samples = samples_of(model)
    assert_is_that_of_rows_alone(model, reference, samples, loss_type)


@pytest.mark.parametrize("max_tokens", [12, 999])
@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_turns_that_are_only_read_and_an_advantage_a_token(
    loss_type: LossType, max_tokens: int
) -> None:
    """Prompt, turn (learned), reply (read), turn (learned); some end with a reply, one is read all.

    The reference's rows hold the learned tokens and nothing else: what was read is in no loss, no
    KL, no weight, no ratio of a sequence and no count.
    """
    model, reference = policy_and_reference()
    samples = [turns_of(place, sample) for place, sample in enumerate(samples_of(model))]
    assert {len(sample.trained) for sample in samples} == {0, 1, 2}
    assert_is_that_of_rows_alone(model, reference, samples, loss_type, max_tokens=max_tokens)


def turns_of(place: int, sample: Tokens) -> Tokens:
    """Let the environment say something in the middle, or at the end, of what was sampled."""
    start, end = sample.prefix, len(sample.ids)
    middle = (start + end) // 2
    trained = {
        0: ((start, middle), (middle + 1, end)),
        1: ((start, end - 1),),
        2: ((start, end),),
    }[place % 3]
    trained = tuple((a, b) for a, b in trained if a < b) if place else ()
    # What was read has a log-probability too, of whatever: it mustn't count.
    advantage = sample.advantage
    if advantage is not None and place % 2:
        advantage = tuple(sample.advantages[0] + 0.1 * i for i in range(end))
    return replace(sample, trained=trained, advantage=advantage)


def assert_is_that_of_rows_alone(
    model: PreTrainedModel,
    reference: PreTrainedModel,
    samples: list[Tokens],
    loss_type: LossType,
    *,
    max_tokens: int = 999,
) -> None:
    """Compare loss and gradients with those of the slow reference."""
    loss, gradients = step(model, reference, samples, loss_type, max_tokens=max_tokens)
    used = [sample for sample in samples if sample.advantage is not None and sample.trained]
    policy = rows_alone(model, used)
    ref = rows_alone(reference, used)
    rows = [
        Row(
            policy=list(logprobs_T),
            old=list(logprobs_T.detach()),
            rollout=[torch.tensor(sample.logprobs[place]) for place in places_of(sample)],
            ref=list(ref_T),
            advantage=[sample.advantages[place] for place in places_of(sample)],
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
    prompt = samples[-1].ids[: samples[-1].prefix]
    other = Tokens.of(prompt, (30, 31, 32), logprobs=(-50.0, 0.0, -9.0))
    loss, gradients = step(model, reference, samples)
    other_loss, found = step(model, reference, [*samples[:-1], other])
    assert other_loss == pytest.approx(loss, rel=EXACT)
    assert_same(found, gradients, EXACT)
