"""Weights in bfloat16, passes in float32: for processors that can only emulate bfloat16.

Input: a model whose weights are bfloat16. Output: the same model; its linear layers and embeddings
bring their weights to float32 while they multiply, so activations are float32 and only one weight
at a time is. Their gradients come back as bfloat16, rounded once from a float32 sum.

Names, parameters and what is saved stay what they were: only the class of the modules changes, to
a subclass with another ``forward``.

Shapes: N tokens, D inputs, V outputs or rows of the vocabulary, U different tokens.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from atlas.objectives.head import mixed_linear, mixed_matmul

M = TypeVar("M", bound=nn.Module)


def compute_in_float32(model: M) -> M:
    """Change a model in place so that its passes are computed in float32; returns it.

    Args:
        model: Its linear layers and embeddings have bfloat16 weights.
    """
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = WideLinear
        elif type(module) is nn.Embedding:
            module.__class__ = WideEmbedding
    return model


class WideLinear(nn.Linear):
    """A linear layer that multiplies in float32, whatever its weight is kept in."""

    def forward(self, input: Tensor) -> Tensor:
        """Return ``x W^T + b`` in float32."""
        flat_ND = input.reshape(-1, self.in_features).float()
        out_NV: Tensor = _Product.apply(flat_ND, self.weight)  # pyright: ignore[reportAssignmentType]
        out_NV = out_NV if self.bias is None else out_NV + self.bias
        return out_NV.view(*input.shape[:-1], self.out_features)


class WideEmbedding(nn.Embedding):
    """An embedding whose rows come out in float32."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the rows in float32."""
        return _Rows.apply(input, self.weight)  # pyright: ignore[reportReturnType]


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, weight_VD: Tensor) -> Tensor:
        ctx.save_for_backward(x_ND, weight_VD)
        return mixed_linear(x_ND, weight_VD)

    @staticmethod
    @once_differentiable  # its annotation makes ctx positional, hence the ignore
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Any
    ) -> tuple[Tensor | None, ...]:
        x_ND, weight_VD = ctx.saved_tensors
        (grad_NV,) = grad_outputs
        needs_x, needs_weight = ctx.needs_input_grad
        return (
            mixed_matmul(grad_NV, weight_VD) if needs_x else None,
            (grad_NV.T @ x_ND).to(weight_VD.dtype) if needs_weight else None,
        )


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ids: Tensor, weight_VD: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.shape, ctx.dtype = weight_VD.shape, weight_VD.dtype
        return weight_VD[ids].float()

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Any
    ) -> tuple[Tensor | None, ...]:
        (ids,) = ctx.saved_tensors
        grad_ND = grad_outputs[0].reshape(ids.numel(), -1)
        # Frequent tokens are sums of many terms: added up in float32, rounded once.
        found_U, place_N = ids.flatten().unique(return_inverse=True)
        sums_UD = grad_ND.new_zeros(len(found_U), grad_ND.shape[1]).index_add_(0, place_N, grad_ND)
        grad_VD = torch.zeros(ctx.shape, dtype=ctx.dtype, device=ids.device)
        grad_VD[found_U] = sums_UD.to(ctx.dtype)
        return None, grad_VD
