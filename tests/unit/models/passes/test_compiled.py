"""Compiled layers run within their context, with gradients, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.unit.tiny_models import tiny_model

from atlas.models.passes import compiled
from atlas.models.passes.compiled import compile_layers, forget_compiled, running_compiled

IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often a compiled layer has run; the compiler itself is not asked."""
    counted: list[int] = []

    def fake_compile(call: Any, **_: Any) -> Any:
        return lambda *args, **kwargs: counted.append(1) or call(*args, **kwargs)

    monkeypatch.setattr(torch, "compile", fake_compile)
    return counted


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_layers_run_compiled_only_in_training(kind: str, runs: list[int]) -> None:
    model: Any = tiny_model(kind)
    names = list(model.state_dict())
    assert compile_layers(model) == 2
    model(IDS)
    assert not runs
    with running_compiled(model.get_decoder()):
        with torch.no_grad(), running_compiled(model):
            model(IDS)
        expected = model(IDS).logits
    assert len(runs) == 2 + 2  # the inner context took nothing away from the outer one
    assert torch.equal(model(IDS).logits, expected)
    assert len(runs) == 4
    assert list(model.state_dict()) == names
    forget_compiled(model)
    with running_compiled(model):
        model(IDS)
    assert len(runs) == 4
    assert not any(layer in compiled._calls for layer in model.modules())
