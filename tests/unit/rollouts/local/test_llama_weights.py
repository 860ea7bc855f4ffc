"""In which precision a model is computed, and that its weights are its own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.unit.tiny_models import tiny_model

from atlas.rollouts.local import llama_weights
from atlas.rollouts.local.llama_weights import computing_dtype, read_weights

BF16 = torch.bfloat16


@pytest.mark.parametrize(
    ("capabilities", "dtype", "expected"),
    [
        ({"architecture": "x86_64", "avx512_bf16": True}, BF16, BF16),
        ({"architecture": "x86_64", "amx_bf16": True}, BF16, BF16),
        ({"architecture": "x86_64", "avx2": True}, BF16, torch.float32),
        ({"architecture": "aarch64"}, BF16, BF16),  # not known to be slow
        ({"architecture": "x86_64", "avx512_bf16": True}, torch.float16, torch.float32),
        ({"architecture": "x86_64", "avx2": True}, torch.float64, torch.float64),
    ],
)
def test_half_precision_without_units_is_computed_in_float32(
    capabilities: dict[str, Any],
    dtype: torch.dtype,
    expected: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert computing_dtype(tiny_model("llama", dtype)) == expected


def test_models_whose_copy_would_fill_the_memory_keep_their_precision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "x86_64"})
    monkeypatch.setattr(llama_weights, "_MOST_CONVERTED", 10)
    assert computing_dtype(tiny_model("llama", BF16)) == BF16


def test_what_is_not_joined_is_not_copied() -> None:
    model: Any = tiny_model("llama")
    weights = read_weights(model, torch.float32)
    assert weights.embedding_VD.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    down = model.model.layers[0].mlp.down_proj.weight
    assert weights.layers[0].down.weight.data_ptr() == down.data_ptr()
