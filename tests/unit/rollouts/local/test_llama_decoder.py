"""Decoding from the weights against the model's own forward, over what the family varies."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.unit.tiny_models import VOCAB, adapted_model, tiny_model
from transformers import AutoModelForCausalLM, PreTrainedModel, Qwen2Config

from atlas.rollouts.local import llama_decoder, llama_weights
from atlas.rollouts.local.llama_decoder import LlamaDecoder
from atlas.rollouts.local.llama_weights import read_weights

PROMPTS = [[5, 6, 7, 8, 9, 10, 11], [12], [13, 14, 15]]
YARN = {
    "rope_type": "yarn",
    "factor": 4.0,
    "rope_theta": 1e4,
    "original_max_position_embeddings": 16,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 1e4,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


def qwen2() -> PreTrainedModel:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=1,
        initializer_range=0.4,
    )
    return randomised(AutoModelForCausalLM.from_config(config).eval())


@torch.no_grad()
def randomised(model: PreTrainedModel) -> PreTrainedModel:
    """Give biases and norms, which begin as zeros and ones, values that count."""
    for name, parameter in model.named_parameters():
        if "norm" in name or name.endswith("bias"):
            parameter.normal_(1.0 if "norm" in name else 0.0, 0.5)
    return model


VARIANTS: dict[str, Any] = {
    "llama": lambda: randomised(tiny_model("llama")),
    "qwen3": lambda: randomised(tiny_model("qwen3")),
    "qwen2": qwen2,
    "every head its own": lambda: tiny_model("llama", num_key_value_heads=4),
    "biases": lambda: randomised(tiny_model("llama", attention_bias=True, mlp_bias=True)),
    "head of its own": lambda: tiny_model("qwen3", tie_word_embeddings=False),
    "yarn": lambda: tiny_model("llama", rope_parameters=YARN),
    "adapter": lambda: adapted_model("qwen2"),
    "llama3": lambda: tiny_model("llama", rope_parameters=LLAMA3),
}


def fresh(model: Any, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0, -1]


@pytest.mark.parametrize("name", VARIANTS)
@torch.no_grad()
def test_logits_are_those_of_the_models_own_forward(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through prefill in pieces, steps, rows that leave and prompts that enter late."""
    monkeypatch.setattr(llama_decoder, "_PREFILL_TOKENS", 14)
    model = VARIANTS[name]()
    decoder = LlamaDecoder(read_weights(model, torch.float32), 40)
    torch.manual_seed(1)
    texts = [list(prompt) for prompt in PROMPTS for _ in range(2)]
    logits_BV = decoder.admit(PROMPTS, 2)
    for step in range(14):
        expected_BV = torch.stack([fresh(model, text) for text in texts])
        torch.testing.assert_close(logits_BV, expected_BV, rtol=0, atol=2e-4)
        if step == 4:
            kept = [0, 1, 3, 5]
            decoder.keep(kept)
            texts = [texts[row] for row in kept]
        if step == 7:
            late = [[20, 21], [22]]
            decoder.admit(late, 3)
            texts += [list(prompt) for prompt in late for _ in range(3)]
        tokens_B = torch.randint(2, VOCAB, (len(texts),))
        texts = [[*text, int(token)] for text, token in zip(texts, tokens_B, strict=True)]
        logits_BV = decoder.step(tokens_B)


@pytest.mark.parametrize("name", ["llama", "qwen2", "biases"])
@torch.no_grad()
def test_what_prompts_begin_with_in_common_is_computed_once(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stems of stems, in passes of a few prompts; later tokens find the keys at their places."""
    monkeypatch.setattr(llama_decoder, "_PREFILL_TOKENS", 12)
    model = VARIANTS[name]()
    head, task = [*range(2, 22)], [*range(22, 40)]
    prompts = [
        [*head, *task, 5],
        [*head, 6, 7, 8, 9],
        [30, 31, 32],
        [*head, *task, 10, 11, 12],
        [*head, *task, 5],
        head,
    ]
    computed: list[int] = []
    filled = LlamaDecoder._filled

    def counted(self: LlamaDecoder, prompts: Any, stems: Any, layers: Any) -> torch.Tensor:
        computed.append(sum(map(len, prompts)) - sum(stems))
        return filled(self, prompts, stems, layers)

    monkeypatch.setattr(LlamaDecoder, "_filled", counted)
    decoder = LlamaDecoder(read_weights(model, torch.float32), 60)
    logits_BV = decoder.admit(prompts, 2)
    # The head but two tokens; what the two stems have behind it; what is each prompt's own.
    assert sum(computed) == 18 + (1 + 20) + (1 + 5 + 3 + 3 + 1 + 1)
    assert sum(map(len, prompts)) == 166
    texts = [list(prompt) for prompt in prompts for _ in range(2)]
    for token in (13, 14, 15):
        expected_BV = torch.stack([fresh(model, text) for text in texts])
        torch.testing.assert_close(logits_BV, expected_BV, rtol=0, atol=2e-4)
        texts = [[*text, token + row % 2] for row, text in enumerate(texts)]
        logits_BV = decoder.step(torch.tensor([text[-1] for text in texts]))


@torch.no_grad()
def test_projections_apart_give_what_joined_ones_give(monkeypatch: pytest.MonkeyPatch) -> None:
    model = VARIANTS["biases"]()
    joined = LlamaDecoder(read_weights(model, torch.float32), 40).admit(PROMPTS, 1)
    monkeypatch.setattr(llama_weights, "_WIDEST_JOINED", 1)
    weights = read_weights(model, torch.float32)
    assert len(weights.layers[0].qkv) == 3
    apart = LlamaDecoder(weights, 40).admit(PROMPTS, 1)
    torch.testing.assert_close(apart, joined, rtol=0, atol=1e-5)


@torch.no_grad()
def test_float32_holds_half_precision_weights_exactly() -> None:
    """A bf16 model decoded in float32 gives the logits that its weights have in float64."""
    model = tiny_model("qwen3", torch.bfloat16)
    double: Any = tiny_model("qwen3", torch.float64)
    double.load_state_dict(model.state_dict())
    decoder = LlamaDecoder(read_weights(model, torch.float32), 40)
    found = decoder.admit([PROMPTS[0]], 1)[0]
    expected = fresh(double, PROMPTS[0])
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-3)
