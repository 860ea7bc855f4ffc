from __future__ import annotations

import copy

import pytest
import torch
from tests.unit.tiny_models import rows_of, tiny_model

from atlas.models.passes.forward import logprobs
from atlas.models.passes.upcasting import compute_in_float32

ROWS = rows_of([[3, 4, 5], [6, 7]], [[8, 9, 9], [10, 1], [11, 12, 1], [9, 1]])


@pytest.mark.parametrize("checkpointing", [False, True])
def test_passes_are_those_of_a_float32_model_with_the_rounded_weights(
    checkpointing: bool,
) -> None:
    narrow = tiny_model("llama", torch.bfloat16)
    exact = copy.deepcopy(narrow).float()
    compute_in_float32(narrow)
    for model in (narrow, exact):
        if checkpointing:
            model.activation_checkpointing_enable()
    made, expected = (logprobs(model, ROWS).logprobs_BT for model in (narrow, exact))
    assert made.dtype == torch.float32
    torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-5)
    weights_BT = torch.linspace(-1, 1, made.numel()).view_as(made)
    for logprobs_BT in (made, expected):
        (logprobs_BT * weights_BT).sum().backward()
    for (name, parameter), reference in zip(
        narrow.named_parameters(), exact.parameters(), strict=True
    ):
        assert parameter.grad is not None
        assert reference.grad is not None
        assert parameter.grad.dtype == torch.bfloat16
        # A tied embedding is rounded twice and added up: two parts in 256 of its largest parts.
        error = (parameter.grad.float() - reference.grad).abs().max()
        assert error <= 2**-7 * reference.grad.abs().max(), name


def test_names_and_weights_stay_what_they_were() -> None:
    model = tiny_model("llama", torch.bfloat16)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    after = compute_in_float32(model).state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert after["model.embed_tokens.weight"].dtype == torch.bfloat16


def test_a_frequent_token_is_summed_in_float32() -> None:
    """257 gradients of 1: bfloat16 would stay at 256."""
    embedding = compute_in_float32(torch.nn.Embedding(2, 1).to(torch.bfloat16))
    embedding(torch.zeros(259, dtype=torch.long)).sum().backward()
    assert embedding.weight.grad is not None
    assert embedding.weight.grad.tolist() == [[260.0], [0.0]]  # 259 rounded to bfloat16
