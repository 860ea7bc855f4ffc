"""The vocabulary projection in chunks: hidden states -> log-probability of each target.

    z = (W h + b) / temperature          logprob[n] = z[target] - logsumexp(z)

Forward, a chunk's logits live until its log-probabilities are read off. Backward, they are computed
once more and turned into their own gradient in place:

    dz = grad (onehot(target) - softmax(z)) / temperature
    dh = dz W,    dW = sum over chunks of dz^T h,    db = sum over tokens of dz

Exact for any upstream gradient and any chunk size; the price is one more projection.

Shapes: N tokens of all rows in one axis, n those of a chunk, D hidden, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear


class ChunkedProjection(torch.autograd.Function):
    """Log-probability and, without gradient, entropy at each token; call it by ``apply``."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        targets_N: Tensor,
        temperature: float,
        chunk_tokens: int,
        with_entropy: bool,
    ) -> tuple[Tensor, Tensor]:
        """Return log-probabilities [N] and entropies [N] ([0] unless ``with_entropy``)."""
        num_tokens = hidden_ND.shape[0]
        logprobs_N = hidden_ND.new_empty(num_tokens, dtype=accurate_dtype(hidden_ND.dtype))
        logsumexp_N = torch.empty_like(logprobs_N)
        entropy_N = logprobs_N.new_zeros(num_tokens if with_entropy else 0)
        for chunk in _chunks(num_tokens, chunk_tokens):
            logits_nV = _logits(hidden_ND[chunk], weight_VD, bias_V, temperature)
            logsumexp_n = logits_nV.logsumexp(-1)
            selected_n = logits_nV.gather(-1, targets_N[chunk].unsqueeze(-1)).squeeze(-1)
            logsumexp_N[chunk] = logsumexp_n
            logprobs_N[chunk] = selected_n - logsumexp_n
            if with_entropy:
                probs_nV = logits_nV.sub_(logsumexp_n.unsqueeze(-1)).exp_()
                entropy_N[chunk] = torch.special.entr(probs_nV).sum(-1)
        ctx.save_for_backward(hidden_ND, weight_VD, bias_V, targets_N, logsumexp_N)
        ctx.temperature, ctx.chunk_tokens = temperature, chunk_tokens
        ctx.mark_non_differentiable(entropy_N)
        return logprobs_N, entropy_N

    @staticmethod
    @once_differentiable  # its annotation makes ctx positional, hence the ignore
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Any
    ) -> tuple[Tensor | None, ...]:
        """Return the gradients of hidden states, weight and bias, each only if it is needed."""
        hidden_ND, weight_VD, bias_V, targets_N, logsumexp_N = ctx.saved_tensors
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        grad_N = grad_outputs[0] / ctx.temperature
        accurate = logsumexp_N.dtype
        hidden_grad_ND = torch.empty_like(hidden_ND) if needs_hidden else None
        # Sums over many chunks: kept in full precision, rounded once at the end.
        weight_grad_VD = torch.zeros_like(weight_VD, dtype=accurate) if needs_weight else None
        bias_grad_V = torch.zeros_like(bias_V, dtype=accurate) if needs_bias else None
        for chunk in _chunks(hidden_ND.shape[0], ctx.chunk_tokens):
            logits_nV = _logits(hidden_ND[chunk], weight_VD, bias_V, ctx.temperature)
            grad_nV = logits_nV.sub_(logsumexp_N[chunk].unsqueeze(-1)).exp_().neg_()
            targets_n1 = targets_N[chunk].unsqueeze(-1)
            grad_nV.scatter_add_(-1, targets_n1, torch.ones_like(targets_n1, dtype=accurate))
            grad_nV.mul_(grad_N[chunk].unsqueeze(-1))
            if bias_grad_V is not None:
                bias_grad_V += grad_nV.sum(0)
            grad_nV = grad_nV.to(weight_VD.dtype)
            if hidden_grad_ND is not None:
                hidden_grad_ND[chunk] = _matmul(grad_nV, weight_VD)
            if weight_grad_VD is not None:
                weight_grad_VD += _matmul(grad_nV.T, hidden_ND[chunk])
        return (
            hidden_grad_ND,
            None if weight_grad_VD is None else weight_grad_VD.to(weight_VD.dtype),
            None if bias_grad_V is None else bias_grad_V.to(bias_V.dtype),
            *(None,) * 4,
        )


def accurate_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype that log-probabilities are computed in: float32, or float64 if it is."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _logits(
    hidden_nD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, temperature: float
) -> Tensor:
    """Return a chunk's own logits [n, V], accurate and free to be overwritten."""
    with torch.autocast(hidden_nD.device.type, enabled=False):
        logits_nV = linear(hidden_nD, weight_VD, bias_V)
    return logits_nV.to(accurate_dtype(logits_nV.dtype)).div_(temperature)


def _matmul(left: Tensor, right: Tensor) -> Tensor:
    """Multiply in the operands' own precision, also where backward runs under autocast."""
    with torch.autocast(left.device.type, enabled=False):
        return left @ right


def _chunks(num_tokens: int, chunk_tokens: int) -> list[slice]:
    return [slice(i, i + chunk_tokens) for i in range(0, num_tokens, chunk_tokens)]
