"""What a model does to the output of its head, and its derivative.

    y = softcap tanh(scale x / softcap)      most models: scale 1 and no softcap, y = x
    z = y / temperature

``softcap`` is Gemma 2's (arXiv 2408.00118, section 2), ``scale`` that of Cohere's and Granite's.

Shapes: n tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


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
