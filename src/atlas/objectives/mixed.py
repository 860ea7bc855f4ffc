"""Products with weights that are kept narrower than what they are multiplied with.

    y = x W^T    dx = g W    in the precision of x; W is brought to it a slice of rows at a time

A processor without instructions for bfloat16 multiplies float32 a hundred times faster. What the
weights take in memory stays what bfloat16 takes, but for one slice.

Shapes: N tokens, D inputs, V outputs (rows of the weight).
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor
from torch.nn.functional import linear

SLICE_NUMBERS = 2**23
"""Weights brought to the wider type at a time: 32 MiB in float32."""


def mixed_linear(x_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None = None) -> Tensor:
    """Return ``x W^T + b``, [N, V]; where both have one precision, that is PyTorch's own."""
    if x_ND.dtype == weight_VD.dtype:
        return linear(x_ND, weight_VD, bias_V)
    out_NV = x_ND.new_empty(x_ND.shape[0], weight_VD.shape[0])
    for rows in _slices(weight_VD):
        out_NV[:, rows] = x_ND @ weight_VD[rows].to(x_ND.dtype).T
    return out_NV if bias_V is None else out_NV.add_(bias_V)


def mixed_matmul(grad_NV: Tensor, weight_VD: Tensor) -> Tensor:
    """Return ``g W``, [N, D]."""
    if grad_NV.dtype == weight_VD.dtype:
        return grad_NV @ weight_VD
    out_ND = grad_NV.new_zeros(grad_NV.shape[0], weight_VD.shape[1])
    for rows in _slices(weight_VD):
        out_ND.addmm_(grad_NV[:, rows], weight_VD[rows].to(grad_NV.dtype))
    return out_ND


def _slices(weight_VD: Tensor) -> Iterator[slice]:
    size = max(1, SLICE_NUMBERS // weight_VD.shape[1])
    return (slice(i, i + size) for i in range(0, weight_VD.shape[0], size))
