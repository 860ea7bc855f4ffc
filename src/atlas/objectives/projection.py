"""The vocabulary projection in chunks: hidden states -> log-probability of each target.

    z = y(W h + b) / temperature          logprob[n] = z[target] - logsumexp(z)

where ``y`` is the identity but for the models that head.py describes. ``W`` may be kept in
bfloat16 where ``h`` is float32 (head.py).

Forward, a chunk's logits live until its log-probabilities are read off. Backward, they are computed
once more and turned into their own gradient in place, unless they are few altogether: then their
probabilities are kept. With ``g`` the gradient of a log-probability:

    dx = g (onehot(target) - softmax(z)) y' / temperature
    dh = dx W,    dW = sum over chunks of dx^T h,    db = sum over tokens of dx

Exact for any upstream gradient and any chunk size; the price is one more projection.

Shapes: N tokens of all rows in one axis, n those of a chunk, D hidden, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from atlas.objectives.head import LogitChange, mixed_linear, mixed_matmul


class ChunkedProjection(torch.autograd.Function):
    """Log-probability and, without gradient, entropy at each token; call it by ``apply``."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        targets_N: Tensor,
        change: LogitChange,
        chunk_tokens: int,
        with_entropy: bool,
        keep: bool,
    ) -> tuple[Tensor, Tensor]:
        """Return log-probabilities [N] and entropies [N] ([0] unless ``with_entropy``)."""
        num_tokens = hidden_ND.shape[0]
        logprobs_N = hidden_ND.new_empty(num_tokens, dtype=accurate_dtype(hidden_ND.dtype))
        entropy_N = logprobs_N.new_zeros(num_tokens if with_entropy else 0)
        keep = keep and change.softcap is None
        kept_NV = None
        if keep:
            kept_NV = logprobs_N.new_empty(num_tokens, weight_VD.shape[0])
        for chunk in _chunks(num_tokens, chunk_tokens):
            logits_nV = change.apply_(_logits(hidden_ND[chunk], weight_VD, bias_V))
            log_nV = logits_nV.log_softmax(-1)
            logprobs_N[chunk] = log_nV.gather(-1, targets_N[chunk].unsqueeze(-1)).squeeze(-1)
            if with_entropy or kept_NV is not None:
                out = logits_nV if kept_NV is None else kept_NV[chunk]
                probs_nV = torch.exp(log_nV, out=out)
                if with_entropy:
                    # A token that can't be (probability 0, log -inf) adds nothing.
                    surprise_nV = log_nV.clamp_(min=torch.finfo(log_nV.dtype).min)
                    entropy_N[chunk] = -surprise_nV.mul_(probs_nV).sum(-1)
        ctx.save_for_backward(hidden_ND, weight_VD, bias_V, targets_N, kept_NV)
        ctx.change, ctx.chunk_tokens = change, chunk_tokens
        ctx.mark_non_differentiable(entropy_N)
        return logprobs_N, entropy_N

    @staticmethod
    @once_differentiable  # its annotation makes ctx positional, hence the ignore
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Any
    ) -> tuple[Tensor | None, ...]:
        """Return the gradients of hidden states, weight and bias, each only if it is needed."""
        hidden_ND, weight_VD, bias_V, targets_N, kept_NV = ctx.saved_tensors
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        grad_N = grad_outputs[0]
        accurate = grad_N.dtype
        hidden_grad_ND = torch.empty_like(hidden_ND) if needs_hidden else None
        # Sums over many chunks: kept in full precision, rounded once at the end.
        weight_grad_VD = torch.zeros_like(weight_VD, dtype=accurate) if needs_weight else None
        bias_grad_V = torch.zeros_like(bias_V, dtype=accurate) if needs_bias else None
        for chunk in _chunks(hidden_ND.shape[0], ctx.chunk_tokens):
            if kept_NV is None:
                logits_nV = ctx.change.apply_(_logits(hidden_ND[chunk], weight_VD, bias_V))
                slope = ctx.change.slope(logits_nV)
                probs_nV = logits_nV.softmax(-1)
            else:
                probs_nV = kept_NV[chunk].clone()  # a second backward pass needs them too
                slope = ctx.change.slope(probs_nV)
            grad_n1 = grad_N[chunk].unsqueeze(-1)
            if not isinstance(slope, Tensor):
                grad_n1 = grad_n1 * slope
            grad_nV = probs_nV.mul_(-grad_n1)
            grad_nV.scatter_add_(-1, targets_N[chunk].unsqueeze(-1), grad_n1)
            if isinstance(slope, Tensor):
                grad_nV.mul_(slope)
            if bias_grad_V is not None:
                bias_grad_V += grad_nV.sum(0)
            grad_nV = grad_nV.to(hidden_ND.dtype)
            with torch.autocast(grad_nV.device.type, enabled=False):
                if hidden_grad_ND is not None:
                    hidden_grad_ND[chunk] = mixed_matmul(grad_nV, weight_VD)
                if weight_grad_VD is not None:
                    weight_grad_VD += grad_nV.T @ hidden_ND[chunk]
        return (
            hidden_grad_ND,
            None if weight_grad_VD is None else weight_grad_VD.to(weight_VD.dtype),
            None if bias_grad_V is None else bias_grad_V.to(bias_V.dtype),
            *(None,) * 5,
        )


def accurate_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype that log-probabilities are computed in: float32, or float64 if it is."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _logits(hidden_nD: Tensor, weight_VD: Tensor, bias_V: Tensor | None) -> Tensor:
    """Return a chunk's own logits [n, V], accurate and free to be overwritten."""
    with torch.autocast(hidden_nD.device.type, enabled=False):
        logits_nV = mixed_linear(hidden_nD, weight_VD, bias_V)
    return logits_nV.to(accurate_dtype(logits_nV.dtype))


def _chunks(num_tokens: int, chunk_tokens: int) -> list[slice]:
    return [slice(i, i + chunk_tokens) for i in range(0, num_tokens, chunk_tokens)]
