"""Products with narrow weights: equal to widening the whole weight first, in any slices."""

import pytest
import torch

from atlas.objectives import head
from atlas.objectives.head import mixed_linear, mixed_matmul
from atlas.objectives.logprobs import selected_logprobs


@pytest.fixture(params=[1, 20, 2**23])
def slices(request, monkeypatch) -> None:
    monkeypatch.setattr(head, "SLICE_NUMBERS", request.param)


@pytest.mark.usefixtures("slices")
def test_products_are_those_of_the_widened_weight():
    generator = torch.Generator().manual_seed(0)
    x_ND = torch.randn(3, 5, generator=generator)
    weight_VD = torch.randn(7, 5, generator=generator).to(torch.bfloat16)
    bias_V = torch.randn(7, generator=generator)
    wide_VD = weight_VD.float()
    torch.testing.assert_close(mixed_linear(x_ND, weight_VD, bias_V), x_ND @ wide_VD.T + bias_V)
    grad_NV = torch.randn(3, 7, generator=generator)
    torch.testing.assert_close(mixed_matmul(grad_NV, weight_VD), grad_NV @ wide_VD)


@pytest.mark.usefixtures("slices")
@pytest.mark.parametrize("chunk_tokens", [2, None])
def test_the_projection_takes_a_bfloat16_head_under_float32_states(chunk_tokens):
    generator = torch.Generator().manual_seed(0)
    hidden_ND = torch.randn(5, 4, generator=generator, requires_grad=True)
    head_VD = torch.randn(9, 4, generator=generator).to(torch.bfloat16).requires_grad_()
    targets_N = torch.tensor([0, 8, 3, 3, 1])
    wide_VD = head_VD.detach().float().requires_grad_()
    again_ND = hidden_ND.detach().clone().requires_grad_()
    made = selected_logprobs(hidden_ND, head_VD, targets_N, chunk_tokens=chunk_tokens)
    expected = selected_logprobs(again_ND, wide_VD, targets_N, chunk_tokens=chunk_tokens)
    torch.testing.assert_close(made.logprobs_N, expected.logprobs_N)
    for result in (made, expected):
        (result.logprobs_N * torch.arange(5)).sum().backward()
    torch.testing.assert_close(hidden_ND.grad, again_ND.grad)
    assert head_VD.grad.dtype == torch.bfloat16
    torch.testing.assert_close(head_VD.grad, wide_VD.grad.to(torch.bfloat16), rtol=2**-7, atol=0)
