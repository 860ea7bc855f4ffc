"""Reference log-probabilities: from a model of its own, or from the policy without its adapter."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tests.unit.tiny_models import PAD, tiny_model
from torch import nn
from transformers import PreTrainedModel

from atlas.runtime.precision import computing
from atlas.training import reference
from atlas.training.forward import completion_logprobs, prepare_forward, shares_prompts
from atlas.training.group_batch import group_batch
from atlas.training.reference import frozen_reference, reference_logprobs

BATCH = group_batch([[5, 6, 7], [8]], [[20, 21, 1], [22], [23, 1], [27]], PAD)


class Adapter(nn.Module):
    """A low-rank update beside a layer, which can be switched off."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer
        self.down = nn.Linear(layer.in_features, 2, bias=False)
        self.up = nn.Linear(2, layer.out_features, bias=False)
        self.on = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the update."""
        return self.layer(x) + (self.up(self.down(x)) if self.on else 0)


def adapted() -> tuple[PreTrainedModel, PreTrainedModel]:
    """A model, and the same with an adapter that says something else."""
    plain = tiny_model()
    model: Any = copy.deepcopy(plain)
    adapter = Adapter(model.model.layers[0].mlp.down_proj)
    model.model.layers[0].mlp.down_proj = adapter

    @contextlib.contextmanager
    def disable_adapter() -> Iterator[None]:
        adapter.on = False
        try:
            yield
        finally:
            adapter.on = True

    model.disable_adapter = disable_adapter
    return plain, model


def test_the_disabled_adapter_is_the_reference() -> None:
    plain, model = adapted()
    found_BT = reference_logprobs(model, BATCH, 0.7)
    wanted_BT = reference_logprobs(plain, BATCH, 0.7)
    assert found_BT is not None
    assert wanted_BT is not None
    assert torch.equal(found_BT, wanted_BT)
    assert not found_BT.requires_grad
    # And it is switched on again.
    policy_BT = completion_logprobs(model, BATCH, temperature=0.7).logprobs_BT
    assert (policy_BT - found_BT).abs().max() > 0.01


def test_no_reference_no_log_probabilities() -> None:
    assert reference_logprobs(None, BATCH, 1.0) is None


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "gemma3", "gpt2"])
def test_rounded_weights_say_the_same_bit_for_bit(kind: str, tied: bool) -> None:
    def load() -> PreTrainedModel:
        return tiny_model(kind, tie_word_embeddings=tied)

    whole, held = frozen_reference(load, autocast=False), frozen_reference(load, autocast=True)
    prepare_forward(whole)
    assert in_bf16(held) == rounded_names(held, tied=tied)
    for temperature in (1.0, 0.7):
        with computing(held, True):
            expected = reference_logprobs(whole, BATCH, temperature)
            found = reference_logprobs(held, BATCH, temperature)
        assert expected is not None
        assert found is not None
        assert torch.equal(found, expected)
    # Rounding is no reason to compute a prompt once for each of its completions.
    assert shares_prompts(held) == shares_prompts(whole)


def in_bf16(model: PreTrainedModel) -> set[str]:
    return {name for name, p in model.named_parameters() if p.dtype == torch.bfloat16}


def rounded_names(model: PreTrainedModel, *, tied: bool) -> set[str]:
    """Projections, with their biases; the head where it is the head alone."""
    ends = ("_proj", "c_attn", "c_proj", "c_fc", *(() if tied else ("lm_head",)))
    names = {name for name, _ in model.named_parameters() if name.split(".")[-2].endswith(ends)}
    assert len(names) >= 14 or "transformer.h.0.attn.c_attn.bias" in names
    return names


def test_a_reference_in_float32_stays_whole_and_no_reference_learns() -> None:
    whole = frozen_reference(tiny_model, autocast=False)
    assert not in_bf16(whole)
    for model in (whole, frozen_reference(tiny_model, autocast=True)):
        assert not any(parameter.requires_grad for parameter in model.parameters())


class Exact(nn.Linear):
    """Computes without autocast what it computes, though its class says otherwise."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Multiply in float32."""
        with torch.autocast("cpu", enabled=False):
            return nn.functional.linear(input.float(), self.weight.float())


@pytest.mark.parametrize("disguised", [False, True])
def test_what_autocast_does_not_round_is_left(
    disguised: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Because its class is not known, or because the model then says something else."""

    def load() -> PreTrainedModel:
        model: Any = tiny_model()
        model.model.layers[0].mlp.down_proj = Exact(48, 32, bias=False).requires_grad_(False)
        torch.manual_seed(1)
        nn.init.normal_(model.model.layers[0].mlp.down_proj.weight)
        return model

    if disguised:
        monkeypatch.setattr(reference, "_ROUNDED", (nn.Linear, Exact))
    with caplog.at_level("INFO"):
        held = frozen_reference(load, autocast=True)
    assert "model.layers.0.mlp.down_proj.weight" not in in_bf16(held)
    assert bool(in_bf16(held)) is not disguised
    assert ("rounded weights would change" in caplog.text) is disguised
