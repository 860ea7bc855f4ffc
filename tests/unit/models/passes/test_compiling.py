"""Compiled layers: equal to the gradient, one graph for all lengths, and given up where wrong."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.unit.tiny_models import rows_of, tiny_model
from transformers import PreTrainedModel

from atlas.models.passes import compiled
from atlas.models.passes.compiling import compile_training
from atlas.models.passes.forward import logprobs

BATCHES = [
    rows_of([[5, 6, 7], [8]], [[20, 21, 1], [22], [23, 24, 26, 1], [35]]),
    rows_of([[5] * 9], [[7] * 6, [8] * 3]),
]


def gradients(model: PreTrainedModel, batch: Any) -> dict[str, torch.Tensor]:
    model.zero_grad()
    logprobs(model, batch).logprobs_BT.sum().backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def test_the_same_gradients_with_checkpoints_and_one_graph_for_all_lengths(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The compiler's front end is the real one; its code generation takes too long here."""
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    model = tiny_model("llama")
    wanted = [gradients(model, batch) for batch in BATCHES]
    line = compile_training(model)
    assert line.startswith("torch_compile: 2 layers compiled for training in ")
    counters: Any = torch._dynamo.utils.counters["stats"]
    graphs = counters["unique_graphs"]
    assert graphs > 0
    for checkpointing in (False, True):
        if checkpointing:
            model.activation_checkpointing_enable()
        for batch, expected in zip(BATCHES, wanted, strict=True):
            found = gradients(model, batch)
            assert found.keys() == expected.keys()
            for name, gradient in expected.items():
                scale = float(gradient.abs().max())
                torch.testing.assert_close(
                    found[name], gradient, rtol=0, atol=2e-5 * scale, msg=name
                )
        if not checkpointing:
            assert counters["unique_graphs"] == graphs


def test_what_the_compiler_cant_do_is_run_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(call: Any, **_: Any) -> Any:
        def run(*args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("no C++ compiler\nand a long trace")

        return run

    monkeypatch.setattr(torch, "compile", broken)
    model = tiny_model("gpt2")
    line = compile_training(model)
    assert line == "torch_compile: layers run as they are, compiling failed: no C++ compiler"
    assert logprobs(model, BATCHES[0], share=False).logprobs_BT.requires_grad


def test_layers_that_come_out_otherwise_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(call: Any, **_: Any) -> Any:
        return lambda *args, **kwargs: call(*args, **kwargs) * 1.01

    monkeypatch.setattr(torch, "compile", wrong)
    model = tiny_model("qwen2")
    wanted = gradients(model, BATCHES[0])
    assert "compiled they differ by" in compile_training(model)
    found = gradients(model, BATCHES[0])
    assert all(torch.equal(found[name], gradient) for name, gradient in wanted.items())
    assert not any(module in compiled._calls for module in model.modules())


def test_what_is_checked_is_what_runs_in_bfloat16_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler makes other code under autocast; all of it is made by the check."""
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    model = tiny_model("llama")
    line = compile_training(model, autocast=True)
    assert line.startswith("torch_compile: 2 layers compiled for training in ")
    counters: Any = torch._dynamo.utils.counters["stats"]
    graphs = counters["unique_graphs"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for batch in BATCHES:
            gradients(model, batch)
    assert counters["unique_graphs"] == graphs
