"""What the engines for several ranks have in common: the module that they wrap, and equal weights.

Their wrappers act when a module's ``forward`` is called. Here losses are computed from a model's
parts (its decoder, its head, its attention replaced), so that the forward that is wrapped has to be
one that runs any computation.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers import PreTrainedModel

from atlas.machine.copying import copied

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


def doubled(model: PreTrainedModel, home: torch.device) -> tuple[PreTrainedModel, PreTrainedModel]:
    """Return a model to be shared out, and the whole copy, which doesn't go home yet.

    Where the copy is a shell, the weights aren't doubled: eight processes of a machine would hold
    sixteen times the model in its memory.
    """
    if home.type != "meta":
        return copy.deepcopy(model), model
    return model, copied(model, device="meta")


def at_home(model: PreTrainedModel, home: torch.device) -> PreTrainedModel:
    """Return the whole copy where it belongs; ``meta`` is a shell without weights."""
    if model.device.type == home.type:
        return model
    if home.type == "cpu" and model.config._attn_implementation == "flash_attention_2":
        model.set_attn_implementation("sdpa")  # the other one computes on GPUs only
    return model.to(home)  # pyright: ignore[reportArgumentType]


@torch.no_grad()
def gather_into(whole: PreTrainedModel, gathered: Iterable[Tensor]) -> None:
    """Bring a whole copy up to date, one parameter after the other.

    Args:
        whole: The copy; all ranks take part, also those that have a shell only.
        gathered: Its trained parameters, each gathered from all ranks when it is asked for.
    """
    if whole.device.type == "meta":
        deque(gathered, maxlen=0)  # the others need this rank's shares
        return
    trained = (parameter for parameter in whole.parameters() if parameter.requires_grad)
    for parameter, value in zip(trained, gathered, strict=True):
        parameter.copy_(value)
