"""Reference log-probabilities: from a model of its own, or from the policy without its adapter."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from tests.unit.tiny_models import rows_of, tiny_model
from torch import nn
from transformers import PreTrainedModel

from atlas.models.passes.forward import logprobs
from atlas.models.passes.reference import reference_logprobs

ROWS = rows_of([[5, 6, 7], [8]], [[20, 21, 1], [22], [23, 1], [27]])


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
    found_BT = reference_logprobs(model, ROWS, 0.7)
    wanted_BT = reference_logprobs(plain, ROWS, 0.7)
    assert found_BT is not None
    assert wanted_BT is not None
    assert torch.equal(found_BT, wanted_BT)
    assert not found_BT.requires_grad
    # And it is switched on again.
    policy_BT = logprobs(model, ROWS, temperature=0.7).logprobs_BT
    assert (policy_BT - found_BT).abs().max() > 0.01


def test_no_reference_no_log_probabilities() -> None:
    assert reference_logprobs(None, ROWS, 1.0) is None
