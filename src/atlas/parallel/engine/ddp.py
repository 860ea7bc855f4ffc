"""The engine that gives every rank the whole model, and adds up gradients (PyTorch's DDP).

Gradients are exchanged while the step's last backward pass still runs, in buckets of layers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from transformers import PreTrainedModel

from atlas.parallel.distributed import Ranks
from atlas.parallel.engine.plain import PlainEngine
from atlas.parallel.engine.runner import Runner

T = TypeVar("T")


class DDPEngine(PlainEngine):
    """Every rank holds the whole model and its optimiser states.

    Args:
        model: Trained in place; rank 0's weights count.
    """

    def __init__(self, model: PreTrainedModel, *, ranks: Ranks, **recipe: Any) -> None:
        super().__init__(model, ranks=ranks, **recipe)
        # Views, since a second copy of all gradients would take as much memory as the weights.
        self._net = DistributedDataParallel(
            Runner(model), forward_sync_buffers=False, gradient_as_bucket_view=True
        )

    def forward(self, compute: Callable[[PreTrainedModel], T], *, last: bool = True) -> T:
        """Return what ``compute`` makes of the model; gradients add up over ranks in the last."""
        self._net.require_backward_grad_sync = last
        return self._net(compute)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of this rank's share of the loss."""
        (loss * self.world_size).backward()  # DDP takes the mean over ranks
