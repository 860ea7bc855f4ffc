"""Memory that runs out in a micro-batch: the step is taken again in halves, with its gradient."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from tests.unit.training.test_supervised import EXAMPLES, train
from tests.unit.training.test_update import make_samples, take_step
from torch import Tensor
from transformers import LlamaForCausalLM

from atlas.parallel.engine.ddp import DDPEngine
from atlas.parallel.engine.plain import PlainEngine
from atlas.training.memory import halved, within_memory


def run_out(monkeypatch: pytest.MonkeyPatch, at: int, times: int = 1) -> list[int]:
    """Have memory run out in backward passes, from number ``at`` on: when it has added its own."""
    passes: list[int] = []
    backward = PlainEngine.backward

    def short(self: PlainEngine, loss: Tensor) -> None:
        backward(self, loss)
        passes.append(len(passes))
        if at <= passes[-1] < at + times:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(PlainEngine, "backward", short)
    return passes


@pytest.mark.parametrize("num_iterations", [1, 2])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_an_update_learns_the_same(
    model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch, at: int, num_iterations: int
) -> None:
    """Two groups of two, in a pass each; then four passes of a row each."""
    samples = make_samples(model)
    other = copy.deepcopy(model)
    asked = {"beta": 0.04, "max_tokens": 9, "num_iterations": num_iterations}
    whole = take_step(model, samples, **asked)
    passes = run_out(monkeypatch, at)
    again = take_step(other, samples, **asked)
    ran_out = at < 2 * num_iterations
    iterations_in_halves = num_iterations - at // 2 if ran_out else 0
    expected = 2 * (num_iterations - iterations_in_halves) + 4 * iterations_in_halves
    assert len(passes) == expected + (at % 2 + 1 if ran_out else 0)
    for name, value in whole.items():
        assert again[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
    for left, right in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=2e-4)


def test_gradients_are_equal_before_the_optimiser_sees_them(
    model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AdamW hides a scale, so the gradients themselves are looked at."""
    found: list[list[Tensor]] = []
    step = PlainEngine.step

    def looked(self: PlainEngine) -> object:
        found.append([p.grad.clone() for p in self.trained.parameters() if p.grad is not None])
        return step(self)

    monkeypatch.setattr(PlainEngine, "step", looked)
    samples = make_samples(model)
    take_step(copy.deepcopy(model), samples)
    run_out(monkeypatch, 0)
    take_step(model, samples)
    assert len(found[0]) == len(found[1]) > 0
    for left, right in zip(*found, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-6)


def test_sft_learns_the_same(
    tmp_path: Path, model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = copy.deepcopy(model)
    whole = train(model, [[EXAMPLES]], tmp_path / "whole")
    passes = run_out(monkeypatch, 0)
    again = train(other, [[EXAMPLES]], tmp_path / "again")
    assert len(passes) == 3  # three rows, then one and two
    assert again == pytest.approx(whole, rel=1e-5)
    for left, right in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=1e-4)


def test_what_is_one_row_ends_in_the_error(
    model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = run_out(monkeypatch, 0, times=99)
    with pytest.raises(torch.OutOfMemoryError):
        take_step(model, make_samples(model))
    assert len(passes) == 3  # of four rows, two and one


def test_where_others_wait_the_error_stands(model: LlamaForCausalLM) -> None:
    engine = object.__new__(DDPEngine)
    engine.trained = model
    tries: list[int] = []

    def take(parts: object) -> None:
        tries.append(1)
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        within_memory(engine, [[1, 2]], take, halved)
    assert len(tries) == 1
