"""Chunked log-probabilities: equal to the dense ones, gradient too, and never whole in memory."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import linear
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from atlas.objectives.logprobs import fast_chunk, selected_logprobs


def problem(num_tokens, hidden, vocab, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_()

    targets_N = torch.randint(vocab, (num_tokens,), generator=generator)
    return normal(num_tokens, hidden), normal(vocab, hidden), normal(vocab), targets_N


def dense(hidden_ND, weight_VD, bias_V, targets_N, temperature=1.0):
    logits_NV = linear(hidden_ND, weight_VD, bias_V) / temperature
    return logits_NV.log_softmax(-1)[torch.arange(len(targets_N)), targets_N]


def test_by_hand():
    # Logits (ln 1, ln 2, ln 5): probabilities 1/8, 2/8, 5/8.
    # At temperature 0.5 the logits double: 1, 4, 25 of 30.
    hidden_ND = torch.ones(1, 1, dtype=torch.float64)
    weight_VD = torch.tensor([[1.0], [2.0], [5.0]], dtype=torch.float64).log()
    target_N = torch.tensor([1])
    for temperature, prob in ((1.0, 2 / 8), (0.5, 4 / 30)):
        chunked = selected_logprobs(hidden_ND, weight_VD, target_N, temperature=temperature)
        assert chunked.logprobs_N.item() == pytest.approx(math.log(prob))


def test_entropy_by_hand_and_without_gradient():
    # Of (1/8, 2/8, 5/8), and of a distribution with an impossible token: (1/2, 1/2, 0).
    hidden_ND = torch.eye(2, dtype=torch.float64, requires_grad=True)
    weight_VD = torch.tensor([[1.0, 1.0], [2.0, 1.0], [5.0, 1e-300]], dtype=torch.float64).log()
    result = selected_logprobs(hidden_ND, weight_VD, torch.tensor([0, 0]), with_entropy=True)
    expected = -(math.log(1 / 8) + 2 * math.log(2 / 8) + 5 * math.log(5 / 8)) / 8
    assert result.entropy_N is not None
    assert result.entropy_N.tolist() == pytest.approx([expected, math.log(2)])
    assert not result.entropy_N.requires_grad
    assert selected_logprobs(hidden_ND, weight_VD, torch.tensor([0, 0])).entropy_N is None


@settings(max_examples=40, deadline=None)
@given(
    num_tokens=st.integers(1, 9),
    vocab=st.integers(1, 7),
    chunk_tokens=st.one_of(st.none(), st.integers(1, 12)),
    temperature=st.floats(0.2, 3.0),
    with_bias=st.booleans(),
    with_entropy=st.booleans(),
    seed=st.integers(0, 99),
)
def test_equal_to_dense_at_any_chunk_size(
    num_tokens, vocab, chunk_tokens, temperature, with_bias, with_entropy, seed
):
    hidden_ND, weight_VD, bias_V, targets_N = problem(num_tokens, 4, vocab, seed)
    leaves = [hidden_ND, weight_VD, *([bias_V] if with_bias else [])]
    upstream_N = problem(num_tokens, 1, 1, seed + 100)[0].detach().squeeze(-1)
    expected_N = dense(hidden_ND, weight_VD, bias_V if with_bias else None, targets_N, temperature)
    got_N = selected_logprobs(
        hidden_ND,
        weight_VD,
        targets_N,
        bias_V=bias_V if with_bias else None,
        temperature=temperature,
        chunk_tokens=chunk_tokens,
        with_entropy=with_entropy,
    ).logprobs_N
    torch.testing.assert_close(got_N, expected_N, rtol=1e-11, atol=1e-12)
    for got, expected in zip(
        torch.autograd.grad(got_N, leaves, upstream_N),
        torch.autograd.grad(expected_N, leaves, upstream_N),
        strict=True,
    ):
        torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-12)


def test_gradcheck():
    hidden_ND, weight_VD, bias_V, targets_N = problem(5, 3, 4)

    def function(hidden_ND, weight_VD, bias_V):
        return selected_logprobs(
            hidden_ND, weight_VD, targets_N, bias_V=bias_V, temperature=0.7, chunk_tokens=2
        ).logprobs_N

    assert torch.autograd.gradcheck(function, (hidden_ND, weight_VD, bias_V))


def test_a_frozen_head_still_passes_the_gradient_on():
    hidden_ND, weight_VD, _, targets_N = problem(5, 3, 4)
    weight_VD = weight_VD.detach()
    selected_logprobs(hidden_ND, weight_VD, targets_N, chunk_tokens=2).logprobs_N.sum().backward()
    (expected_ND,) = torch.autograd.grad(
        dense(hidden_ND, weight_VD, None, targets_N).sum(), hidden_ND
    )
    assert weight_VD.grad is None
    torch.testing.assert_close(hidden_ND.grad, expected_ND)


class LargestTensor(TorchDispatchMode):
    """Remembers the number of elements of the largest tensor that any operation returns."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return result


def test_logits_are_never_whole_forward_or_backward():
    # Whole logits: 64 * 50 = 3200. A chunk's: 4 * 50 = 200; weight 150, hidden states 192.
    hidden_ND, weight_VD, bias_V, targets_N = problem(64, 3, 50)
    with LargestTensor() as largest:
        selected_logprobs(
            hidden_ND, weight_VD, targets_N, bias_V=bias_V, chunk_tokens=4, with_entropy=True
        ).logprobs_N.sum().backward()
    assert largest.numel == 200
    with LargestTensor() as largest:
        dense(hidden_ND, weight_VD, bias_V, targets_N).sum().backward()
    assert largest.numel == 3200


def test_a_small_call_is_not_computed_again_and_a_second_backward_pass_is_the_first():
    hidden_ND, weight_VD, _, targets_N = problem(6, 3, 5)
    for chunk_tokens, products in ((None, 3), (3, 4)):
        leaves = (hidden_ND, weight_VD)
        with FlopCounterMode(display=False) as counter:
            logprobs_N = selected_logprobs(*leaves, targets_N, chunk_tokens=chunk_tokens).logprobs_N
            first = torch.autograd.grad(logprobs_N.sum(), leaves, retain_graph=True)
        one_way = 2 * 6 * 3 * 5
        # Forward (once more where chunks were given), and two products for the gradients.
        assert counter.get_total_flops() == one_way * products
        second = torch.autograd.grad(logprobs_N.sum(), leaves)
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_autocast_is_the_same_as_casting():
    hidden_ND, weight_VD, _, targets_N = problem(6, 8, 5, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        under = selected_logprobs(hidden_ND, weight_VD, targets_N, chunk_tokens=4).logprobs_N
        grads = torch.autograd.grad(under.sum(), (hidden_ND, weight_VD))
    half = selected_logprobs(hidden_ND.bfloat16(), weight_VD.bfloat16(), targets_N, chunk_tokens=4)
    assert under.dtype == torch.float32
    assert torch.equal(under, half.logprobs_N)
    for got, expected in zip(
        grads, torch.autograd.grad(half.logprobs_N.sum(), (hidden_ND, weight_VD)), strict=True
    ):
        assert torch.equal(got, expected)


def test_backward_keeps_the_precision_of_forward():
    """A backward pass that happens to run under autocast recomputes the same logits."""
    hidden_ND, weight_VD, _, targets_N = problem(6, 8, 5, dtype=torch.float32)
    leaves = (hidden_ND, weight_VD)
    logprobs_N = selected_logprobs(hidden_ND, weight_VD, targets_N, chunk_tokens=4).logprobs_N
    expected = torch.autograd.grad(logprobs_N.sum(), leaves, retain_graph=True)
    with torch.autocast("cpu", torch.bfloat16):
        grads = torch.autograd.grad(logprobs_N.sum(), leaves)
    assert torch.equal(grads[0], expected[0])
    assert torch.equal(grads[1], expected[1])


def test_bfloat16_weight_gradient_sums_in_float32():
    # 2048 equal tokens in chunks of 1: summed in bfloat16 the gradient would stall at 256 terms.
    hidden_ND = torch.ones(2048, 1, dtype=torch.bfloat16)
    weight_VD = torch.zeros(2, 1, dtype=torch.bfloat16, requires_grad=True)
    targets_N = torch.zeros(2048, dtype=torch.long)
    selected_logprobs(hidden_ND, weight_VD, targets_N, chunk_tokens=1).logprobs_N.sum().backward()
    assert weight_VD.grad is not None
    assert weight_VD.grad.flatten().tolist() == [1024.0, -1024.0]  # 2048 * (1 - 1/2)


def test_nonsense_is_refused():
    hidden_ND, weight_VD, _, targets_N = problem(2, 3, 4)
    with pytest.raises(ValueError, match="temperature is 0"):
        selected_logprobs(hidden_ND, weight_VD, targets_N, temperature=0.0)
    with pytest.raises(ValueError, match="chunk_tokens is 0"):
        selected_logprobs(hidden_ND, weight_VD, targets_N, chunk_tokens=0)


def test_a_gpu_projects_more_tokens_at_once_than_a_processors_cache_holds():
    assert fast_chunk(128_256, "cpu") == 256
    assert fast_chunk(128_256, "cuda") == 1046
    assert fast_chunk(480, "cpu") == fast_chunk(480, "cuda") == 4096
