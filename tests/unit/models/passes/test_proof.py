"""What counts as rounding, and that modes are given back as they were, module by module."""

from __future__ import annotations

import pytest
import torch
from tests.unit.tiny_models import adapted_model

from atlas.models.lora import adapter_dropout
from atlas.models.passes.proof import disagreement, evaluating


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
