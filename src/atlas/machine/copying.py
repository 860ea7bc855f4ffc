"""A copy of a module somewhere else, without a second one where it is."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def copied(model: M, *, device: str, dtype: torch.dtype | None = None) -> M:
    """Return a copy whose weights lie elsewhere (``meta``: nowhere), perhaps in another precision.

    Each weight goes there by itself: the model is never held twice on its own device.
    """
    weights = {
        id(p): nn.Parameter(p.detach().to(device, dtype), p.requires_grad)
        for p in model.parameters()
    }
    return copy.deepcopy(model, weights)  # deepcopy takes these for copied already
