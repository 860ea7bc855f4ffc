"""The arithmetic of a model's head: a product, and what is done to it.

    x = W h + b                              W may be kept narrower than what it is multiplied with
    y = softcap tanh(scale x / softcap)      most models: scale 1 and no softcap, y = x
    z = y / temperature

A processor without instructions for bfloat16 multiplies float32 a hundred times faster: narrow
weights are brought to the precision of ``h`` a slice of rows at a time, so that they take in memory
what bfloat16 takes, but for one slice. ``softcap`` is Gemma 2's (arXiv 2408.00118, section 2),
``scale`` that of Cohere's and Granite's.

Shapes: N tokens of all rows, n those of a chunk, D inputs, V outputs (rows of the weight).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import linear

SLICE_NUMBERS = 2**23
"""Weights brought to the wider type at a time: 32 MiB in float32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LogitChange:
    """What is done to ``x = W h + b`` before the softmax.

    Example: capped at 2, so that 100 becomes 2:
        >>> import torch
        >>> LogitChange(softcap=2.0).apply_(torch.tensor([[0.0, 100.0]])).tolist()
        [[0.0, 2.0]]
    """

    scale: float = 1.0
    softcap: float | None = None
    temperature: float = 1.0

    def apply_(self, logits_nV: Tensor) -> Tensor:
        """Change logits in place."""
        if self.softcap is None:
            factor = self.scale / self.temperature
            return logits_nV if factor == 1 else logits_nV.mul_(factor)
        capped_nV = logits_nV.mul_(self.scale / self.softcap).tanh_()
        return capped_nV.mul_(self.softcap / self.temperature)

    def slope(self, changed_nV: Tensor) -> Tensor | float:
        """Return the derivative at logits that were changed already."""
        factor = self.scale / self.temperature
        if self.softcap is None:
            return factor
        return (1 - (changed_nV * (self.temperature / self.softcap)).square_()).mul_(factor)


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
