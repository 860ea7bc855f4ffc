"""Which models are decoded from their weights, and what happens when that would be wrong."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from tests.unit.tiny_models import adapted_model, tiny_model
from torch import nn

from atlas.rollouts.local import llama_weights
from atlas.rollouts.local.decoder_choice import DecoderChoice
from atlas.rollouts.local.generic_decoder import GenericDecoder
from atlas.rollouts.local.llama_decoder import LlamaDecoder

PROMPTS = [[5, 6, 7], [8]]


def chosen(model: Any, longest: int = 20) -> type:
    return type(DecoderChoice(model, 0).decoder(PROMPTS, longest))


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_models_of_the_llama_family_are_decoded_from_their_weights(
    kind: str, dtype: torch.dtype
) -> None:
    assert chosen(tiny_model(kind, dtype)) is LlamaDecoder


def test_a_window_matters_where_sequences_are_longer() -> None:
    mistral = tiny_model("mistral")  # a window of 4
    assert chosen(mistral, longest=4) is LlamaDecoder
    assert chosen(mistral, longest=5) is GenericDecoder


@pytest.mark.parametrize("kind", ["gpt2", "gemma3"])
def test_other_families_run_through_their_own_forward(kind: str) -> None:
    assert chosen(tiny_model(kind)) is GenericDecoder


def test_an_adapter_is_added_to_the_weights_where_that_keeps_what_it_has_learned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model: Any = adapted_model("llama")
    assert chosen(model) is LlamaDecoder
    with model.disable_adapter():
        assert chosen(model) is LlamaDecoder
    monkeypatch.setattr(llama_weights, "_MOST_CONVERTED", 10)
    assert chosen(model) is GenericDecoder
    monkeypatch.undo()
    monkeypatch.setattr(llama_weights, "computing_dtype", lambda _: torch.bfloat16)
    assert chosen(adapted_model("llama", torch.bfloat16)) is GenericDecoder


def test_what_trains_in_bfloat16_is_decoded_in_it() -> None:
    """Float32 masters through a copy of their projections, the rest as it is; or by autocast."""
    model: Any = tiny_model("qwen3", tie_word_embeddings=False)
    decoder: Any = DecoderChoice(model, 0, torch.bfloat16).decoder(PROMPTS, 20)
    assert isinstance(decoder, LlamaDecoder)
    weights = decoder._weights
    assert weights.embedding_VD.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    layer = weights.layers[0]
    halves = [*layer.qkv, layer.output, *layer.gate_up, layer.down, weights.head]
    assert {linear.weight.dtype for linear in halves} == {torch.bfloat16}
    decoder.admit(PROMPTS, 2)
    assert {part.dtype for pair in decoder._cache._prompts for part in pair} == {torch.bfloat16}
    with decoder.computing():
        assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("model", [tiny_model("gpt2"), adapted_model("llama")])
def test_other_models_and_adapters_are_decoded_under_autocast(model: Any) -> None:
    """An adapter would be rounded away, added to weights that are rounded then."""
    decoder: Any = DecoderChoice(model, 0, torch.bfloat16).decoder(PROMPTS, 20)
    assert isinstance(decoder, GenericDecoder)
    with torch.no_grad(), decoder.computing():
        assert torch.get_autocast_dtype("cpu") == torch.bfloat16
        assert torch.is_autocast_enabled("cpu")
        decoder.admit(PROMPTS, 2)
    layers: Any = decoder._cache.layers
    assert {layer.keys.dtype for layer in layers} == {torch.bfloat16}


def test_so_do_models_that_are_not_quite_what_their_class_says() -> None:
    hooked: Any = tiny_model()
    hooked.model.layers[0].mlp.register_forward_hook(lambda *_: None)
    replaced: Any = tiny_model()
    replaced.model.layers[1].self_attn.q_proj = nn.Sequential(replaced.model.layers[1].mlp)
    patched: Any = tiny_model()
    patched.model.norm.forward = lambda hidden: hidden
    mixed: Any = tiny_model()
    mixed.model.norm.to(torch.bfloat16)
    scaled = tiny_model(rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4})
    activated = tiny_model(hidden_act="gelu")
    for model in (hooked, replaced, patched, mixed, scaled, activated):
        assert chosen(model) is GenericDecoder


def test_a_model_whose_logits_come_out_otherwise_falls_back_and_the_log_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    true_step = LlamaDecoder.step
    monkeypatch.setattr(
        LlamaDecoder, "step", lambda self, tokens_B: true_step(self, tokens_B).roll(1, -1)
    )
    choice = DecoderChoice(tiny_model(), 0)
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            assert isinstance(choice.decoder(PROMPTS, 20), GenericDecoder)
    (record,) = caplog.records
    assert "other logits" in record.getMessage()
    assert record.levelno == logging.WARNING  # it costs, so who trains must see it


def test_prompts_of_one_token_are_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    true_admit = LlamaDecoder.admit
    choice = DecoderChoice(tiny_model(), 0)
    assert isinstance(choice.decoder([[5]], 20), LlamaDecoder)
    monkeypatch.setattr(LlamaDecoder, "admit", lambda *given: true_admit(*given).roll(1, -1))
    assert isinstance(DecoderChoice(tiny_model(), 0).decoder([[5]], 20), GenericDecoder)
