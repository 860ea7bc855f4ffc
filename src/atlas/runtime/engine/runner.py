"""What the engines for several ranks have in common: the module that they wrap, and equal weights.

Their wrappers act when a module's ``forward`` is called. Here losses are computed from a model's
parts (its decoder, its head, its attention replaced), so that the forward that is wrapped has to be
one that runs any computation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn
from transformers import PreTrainedModel

T = TypeVar("T")


class Runner(nn.Module):
    """A module whose forward runs a computation on its model."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, compute: Callable[[PreTrainedModel], T]) -> T:
        """Return what ``compute`` makes of the model."""
        return compute(self.model)


@torch.no_grad()
def broadcast_weights(model: nn.Module) -> None:
    """Give all ranks rank 0's weights and buffers: they may have loaded others, or none at all."""
    for tensor in [*model.parameters(), *model.buffers()]:
        dist.broadcast(tensor, src=0)
