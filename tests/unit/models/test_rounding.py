"""A frozen model of rounded weights says what the whole one says, to the last bit."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.unit.tiny_models import rows_of, tiny_model
from transformers import PreTrainedModel

from atlas.machine.precision import computing
from atlas.models.passes.forward import logprobs
from atlas.models.rounding import round_products

CPU = torch.device("cpu")


def said(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad(), computing(CPU, autocast=True):
        return logprobs(
            model, rows_of([[5, 6, 7]], [[8, 9, 10], [11, 12]]), temperature=0.7
        ).logprobs_BT


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3", "gpt2"])
def test_the_log_probabilities_are_the_same_to_the_last_bit(family: str, tied: bool) -> None:
    model = tiny_model(family, tie_word_embeddings=tied).requires_grad_(False)
    whole = said(copy.deepcopy(model))
    rounded = round_products(copy.deepcopy(model))
    assert torch.equal(said(rounded), whole)
    dtypes = {name: p.dtype for name, p in rounded.named_parameters()}
    assert dtypes.pop(next(name for name in dtypes if "embed" in name or "wte" in name)) == (
        torch.float32
    )
    halved = [name for name, dtype in dtypes.items() if dtype == torch.bfloat16]
    assert len(halved) >= 4
    assert not any("norm" in name or "ln_" in name for name in halved)
    assert any("lm_head" in name for name in halved) is not tied
