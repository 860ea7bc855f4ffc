"""Modes are given back as they were, module by module."""

from __future__ import annotations

import pytest
from tests.unit.tiny_models import adapted_model

from atlas.models.lora import adapter_dropout
from atlas.models.passes.evaluating import evaluating


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
