"""What counts as rounding, that modes are given back as they were, and what is proven in which.

Flash attention's kernel is replaced by one that refuses what flash-attn refuses.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.unit.tiny_models import adapted_model, tiny_model
from torch import Tensor
from transformers.integrations import flash_attention as integration
from transformers.modeling_flash_attention_utils import fa_peft_integration_check

from atlas.errors import AtlasError
from atlas.models import policy
from atlas.models.lora import adapter_dropout
from atlas.models.passes.forward import prepare_forward
from atlas.models.passes.padded import check_keeps_apart
from atlas.models.passes.proof import disagreement, evaluating
from atlas.models.passes.shared_prefix import shares_prefixes


def test_every_module_gets_its_own_mode_back() -> None:
    model = adapted_model(dropout=0.5)
    with adapter_dropout(model, 0):
        before = [module.training for module in model.modules()]
        assert len(set(before)) == 2
        with evaluating(model):
            assert not any(module.training for module in model.modules())
        with pytest.raises(KeyError), evaluating(model):
            raise KeyError
        assert [module.training for module in model.modules()] == before


@pytest.mark.parametrize(
    ("dtype", "near", "far"),
    [(torch.float64, 1e-8, 1e-5), (torch.float32, 1e-5, 1e-2), (torch.bfloat16, 0.01, 0.2)],
)
def test_a_difference_is_measured_by_the_size_of_what_is_compared(
    dtype: torch.dtype, near: float, far: float
) -> None:
    expected = 1000 * torch.ones(4, dtype=torch.float64)
    assert disagreement(expected * (1 + near), expected, dtype) is None
    assert disagreement(expected * (1 + far), expected, dtype) == pytest.approx(far, rel=1e-3)
    nothing = torch.full((4,), torch.nan)
    assert disagreement(nothing, expected, dtype) is not None


def test_tf32_rounds_more(monkeypatch: pytest.MonkeyPatch) -> None:
    one = torch.ones(4)
    assert disagreement(one * 1.01, one) is not None
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    assert disagreement(one * 1.01, one) is None


def test_under_autocast_rounding_is_autocasts() -> None:
    """Norms give float32 there, of what was rounded to bfloat16."""
    one = torch.ones(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert disagreement(one * 1.01, one) is None
        assert disagreement(one * 1.2, one) is not None


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[torch.dtype]:
    """What precisions the kernel was called in."""
    dtypes: list[torch.dtype] = []

    def kernel(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Any,
        *,
        is_causal: bool,
        target_dtype: torch.dtype | None = None,
        **_: Any,
    ) -> Tensor:
        query, key, value = fa_peft_integration_check(query, key, value, target_dtype)
        dtypes.append(query.dtype)
        if query.dtype not in (torch.float16, torch.bfloat16):
            raise RuntimeError("FlashAttention only support fp16 and bf16 data type")
        query, key, value = (x.transpose(1, 2) for x in (query, key, value))
        attend = torch.nn.functional.scaled_dot_product_attention
        return attend(query, key, value, is_causal=is_causal, enable_gqa=True).transpose(1, 2)

    monkeypatch.setattr(integration, "_flash_attention_forward", kernel)
    return dtypes


def test_checks_of_float32_weights_run_in_the_precision_that_it_has(
    called: list[torch.dtype],
) -> None:
    model = tiny_model("llama")
    model.config._attn_implementation = "flash_attention_2"
    prepare_forward(model)
    assert shares_prefixes(model)
    assert set(called) == {torch.bfloat16}


def test_packing_is_checked_with_it_too(called: list[torch.dtype]) -> None:
    """This kernel sees no borders between sequences, and the check must say so."""
    model = tiny_model("llama")
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(AtlasError, match="packing=true can't be used with LlamaForCausalLM"):
        check_keeps_apart(model)
    assert set(called) == {torch.bfloat16}


def test_it_is_refused_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "is_flash_attn_2_available", lambda: True)
    config: Any = SimpleNamespace(
        attn_implementation="flash_attention_2", precision="float32", use_peft=False
    )
    with pytest.raises(AtlasError, match="computes in half precision only"):
        policy._loaded(config, None, torch.device("cpu"))
