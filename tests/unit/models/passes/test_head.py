"""What models do to their logits: done in chunks too, or refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.unit.tiny_models import PAD, VOCAB, rows_of, tiny_model
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    GraniteConfig,
)

from atlas.errors import AtlasError
from atlas.models.passes.forward import logprobs
from atlas.models.passes.head import logit_change
from atlas.objectives.head import LogitChange

_SHAPE: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "initializer_range": 0.6,
    "pad_token_id": PAD,
}
CONFIGS = {
    "gemma2": lambda: Gemma2Config(
        **_SHAPE, head_dim=8, final_logit_softcapping=2.0, attn_implementation="eager"
    ),
    "cohere": lambda: CohereConfig(**_SHAPE, logit_scale=0.25),
    "granite": lambda: GraniteConfig(**_SHAPE, logits_scaling=3.0),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_logits_are_changed_as_the_model_changes_them(kind: str) -> None:
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(CONFIGS[kind](), dtype=torch.float64).eval()
    prompt, completion = [5, 6, 7], [8, 9, 1]
    logits_TV = model(input_ids=torch.tensor([prompt + completion])).logits[0, 2:-1] / 0.7
    expected_T = logits_TV.log_softmax(-1)[range(3), completion]
    (expected_T * torch.tensor([1.0, -2.0, 3.0])).sum().backward()
    wanted = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    found = logprobs(model, rows_of([prompt], [completion]), temperature=0.7)
    torch.testing.assert_close(found.logprobs_BT[0], expected_T, rtol=0, atol=1e-6)
    (found.logprobs_BT[0] * torch.tensor([1.0, -2.0, 3.0])).sum().backward()
    for name, p in model.named_parameters():
        scale = float(wanted[name].abs().max())
        torch.testing.assert_close(p.grad, wanted[name], rtol=0, atol=1e-5 * scale, msg=name)


def test_dropout_is_no_unknown_change() -> None:
    """A model is met first while it trains: two passes of it differ, its logits don't."""
    model: Any = tiny_model("gpt2").train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    ids = torch.tensor([[5, 6, 7]])
    assert not torch.allclose(model(ids).logits, model(ids).logits)
    assert logit_change(model) == LogitChange()
    assert all(module.training for module in model.modules())


def test_an_unknown_change_is_refused() -> None:
    model: Any = tiny_model()
    model.lm_head.register_forward_hook(lambda _module, _inputs, output: output.sin())
    with pytest.raises(AtlasError, match="'llama' computes its logits in a way"):
        logit_change(model)
