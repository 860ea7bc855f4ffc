"""One optimiser step: what it learns from, and that the cut into micro-batches changes nothing."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from tests.unit.tiny_models import rows_of
from transformers import LlamaForCausalLM

from atlas.models.passes.forward import logprobs
from atlas.objectives.loss_types import LossSettings
from atlas.parallel.engine.plain import PlainEngine
from atlas.training.update import UpdateSettings, live_groups, update
from atlas.types import Tokens


def make_samples(model: LlamaForCausalLM) -> list[Tokens]:
    """Three groups of two, on policy; the third one is dead."""
    prompts = [(5, 6, 7), (8, 9), (10, 11, 12, 13)]
    completions = [(20, 21, 1), (22, 1), (23, 24, 25, 1), (26, 1), (27, 28, 1), (29, 1)]
    with torch.no_grad():
        logprobs_BT = logprobs(model, rows_of(prompts, completions)).logprobs_BT
    advantages = [1.0, -1.0, 0.5, -0.5, None, None]
    return [
        Tokens.of(
            prompts[row // 2],
            completions[row],
            logprobs=logprobs_BT[row, : len(completions[row])].tolist(),
            advantage=advantages[row],
        )
        for row in range(6)
    ]


def take_step(
    model: LlamaForCausalLM,
    samples: list[Tokens],
    *,
    beta: float = 0.0,
    max_tokens: int = 999,
    epsilon: float = 0.2,
    num_iterations: int = 1,
) -> dict[str, float]:
    """Take one step at a rate that moves the weights visibly."""
    engine = PlainEngine(
        model, learning_rate=1e-3, total_steps=10, scheduler="constant", warmup_ratio=0.0
    )
    reference = copy.deepcopy(model) if beta else None
    return dict(
        update(
            engine,
            reference,
            samples,
            UpdateSettings(
                loss=LossSettings(
                    loss_type="dapo", beta=beta, epsilon_low=epsilon, epsilon_high=epsilon
                ),
                temperature=1.0,
                max_tokens=max_tokens,
                num_iterations=num_iterations,
            ),
        )
    )


def test_better_than_the_group_becomes_likelier_and_worse_less_likely(
    model: LlamaForCausalLM,
) -> None:
    samples = make_samples(model)
    take_step(model, samples)
    after = [sum(s.logprobs) for s in make_samples(model)]
    before = [sum(s.logprobs) for s in samples]
    assert after[0] > before[0]
    assert after[1] < before[1]
    assert after[2] > before[2]


@pytest.mark.parametrize("beta", [0.0, 0.04])
def test_micro_batches_change_neither_loss_nor_weights(
    model: LlamaForCausalLM, beta: float
) -> None:
    other = copy.deepcopy(model)
    samples = make_samples(model)
    whole = take_step(model, samples, beta=beta)
    cut = take_step(other, samples, beta=beta, max_tokens=1)
    for name in ("train/loss", "train/grad_norm", "train/ratio_mean", "train/entropy"):
        assert cut[name] == pytest.approx(whole[name], rel=1e-5, abs=1e-7)
    for left, right in zip(model.parameters(), other.parameters(), strict=True):
        # Adam divides by the gradient's size: where that is rounding noise, so is the step.
        torch.testing.assert_close(left, right, rtol=0, atol=2e-4)


def test_dead_groups_change_nothing(model: LlamaForCausalLM) -> None:
    samples = make_samples(model)
    other = copy.deepcopy(model)
    with_dead = take_step(model, samples)
    without = take_step(other, samples[:4])
    assert with_dead["train/loss"] == pytest.approx(without["train/loss"], rel=1e-6)
    for left, right in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=2e-4)


def test_no_step_is_taken_when_every_group_is_dead(model: LlamaForCausalLM) -> None:
    dead = [replace(sample, advantage=None) for sample in make_samples(model)]
    before = copy.deepcopy(model.state_dict())
    assert take_step(model, dead) == {}
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_on_policy_the_ratio_is_one_and_the_kl_to_oneself_zero(model: LlamaForCausalLM) -> None:
    metrics = take_step(model, make_samples(model), beta=0.04)
    assert metrics["train/ratio_mean"] == pytest.approx(1.0, abs=1e-6)
    assert metrics["train/importance_ratio_mean"] == pytest.approx(1.0, abs=1e-4)
    assert metrics["train/kl"] == pytest.approx(0.0, abs=1e-6)


def test_members_without_an_advantage_are_not_computed(model: LlamaForCausalLM) -> None:
    samples = make_samples(model)
    samples[1] = replace(samples[1], advantage=None)
    groups = live_groups(samples)
    assert groups == [[samples[0]], [*samples[2:4]]]
    other = copy.deepcopy(model)
    with_it, without = take_step(model, samples), take_step(other, [samples[0], *samples[2:4]])
    assert with_it["train/loss"] == pytest.approx(without["train/loss"], rel=1e-6)
    for left, right in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=2e-4)


def test_clips_bind_when_samples_are_used_again(model: LlamaForCausalLM) -> None:
    """At this rate the second step finds ratios far outside 0.99 to 1.01."""
    samples = make_samples(model)
    once = take_step(copy.deepcopy(model), samples, epsilon=0.01)
    assert once["train/clip_ratio"] == 0
    assert once["train/ratio_max"] == pytest.approx(1.0, abs=1e-6)
    one, two = copy.deepcopy(model), copy.deepcopy(model)
    twice = take_step(two, samples, epsilon=0.01, num_iterations=2)
    # All tokens are clipped in the second iteration that go where their advantage pulls them.
    assert twice["train/clip_ratio"] == pytest.approx(0.5, abs=0.15)
    assert twice["train/ratio_max"] > 1.01
    # Clipped tokens have no gradient: the second step is momentum and little else.
    free = copy.deepcopy(model)
    take_step(free, samples, epsilon=0.9, num_iterations=2)
    take_step(one, samples)
    clipped_way, free_way = (
        sum(
            float((p - q).square().sum())
            for p, q in zip(m.parameters(), one.parameters(), strict=True)
        )
        for m in (two, free)
    )
    assert clipped_way < free_way


def test_gradient_checkpointing_changes_neither_loss_nor_weights(model: LlamaForCausalLM) -> None:
    other = copy.deepcopy(model)
    other.activation_checkpointing_enable()
    samples = make_samples(model)
    plain, checkpointed = take_step(model, samples), take_step(other, samples)
    assert checkpointed["train/loss"] == pytest.approx(plain["train/loss"], rel=1e-5)
    assert checkpointed["train/grad_norm"] == pytest.approx(plain["train/grad_norm"], rel=1e-4)
    for left, right in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=2e-4)


def test_a_reply_of_the_environment_is_read_and_teaches_nothing(model: LlamaForCausalLM) -> None:
    """Two turns with a reply between them, of three: only the four tokens of the turns count."""
    prompt, turn, reply, again = (5, 6, 7), (20, 21), (30, 31, 32), (22, 1)
    first = Tokens(
        ids=(*prompt, *turn, *reply, *again), trained=((3, 5), (8, 10)), prefix=3, advantage=1.0
    )
    with torch.no_grad():
        said_T = logprobs(model, [first]).logprobs_BT[0].tolist()
    first = replace(first, logprobs=(*[0.0] * 3, *said_T))
    odd = replace(first, logprobs=(*[0.0] * 3, *said_T[:2], -9.0, -9.0, -9.0, *said_T[5:]))
    # A sibling that ended after its first turn, and one that never got a word in.
    second = Tokens.of(prompt, (23, 1), logprobs=(-3.0, -3.0), advantage=-1.0)
    third = replace(first, trained=(), advantage=0.5)
    assert live_groups([first, second, third]) == [[first, second]]
    found = []
    for sample in (first, odd):
        other = copy.deepcopy(model)
        metrics = take_step(other, [sample, second, third], beta=0.04)
        found.append((metrics, [p.detach() for p in other.parameters()]))
    assert found[0][0] == found[1][0]
    for left, right in zip(found[0][1], found[1][1], strict=True):
        assert torch.equal(left, right)
    alone = take_step(copy.deepcopy(model), [first], beta=0.04)
    for name in ("train/importance_ratio_mean", "train/ratio_mean"):
        assert alone[name] == pytest.approx(1.0, abs=1e-5)  # a mean over four
    assert alone["train/kl"] == pytest.approx(0.0, abs=1e-6)
    assert alone["train/loss"] == pytest.approx(-1.0, abs=1e-5)
