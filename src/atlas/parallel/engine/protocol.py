"""What a training loop asks of an engine, and of nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class StepInfo:
    """What one optimiser step did."""

    grad_norm: float
    """Global L2 norm of the gradients before clipping. Where it isn't finite the weights stayed as
    they were."""
    learning_rate: float
    """The rate that the step used."""


class Engine(Protocol):
    """Runs backward passes and optimiser steps of one model.

    With several ranks, each gives its own shares of the loss, whose sum over all is the step's; all
    take equally many passes, since a pass may exchange weights; and every method is called on all
    of them.
    """

    model: PreTrainedModel
    """Whole on rank 0, to save and to publish; on every rank where that samples from it, else a
    shell without weights. Where ranks hold shares of what is trained, it is a copy, brought up to
    date by `refresh`."""
    trained: PreTrainedModel
    """What `forward` computes on: `model`, or this rank's share of it."""

    @property
    def device(self) -> torch.device:
        """Where passes are computed: what `forward` is given belongs there."""
        ...

    @property
    def world_size(self) -> int:
        """Processes that train together."""
        ...

    def forward(self, compute: Callable[[PreTrainedModel], T], *, last: bool = True) -> T:
        """Return what ``compute`` makes of the model that is trained, with gradients.

        Args:
            compute: Returns tensors, or tuples of them.
            last: This is the step's last pass; ranks may wait until then to add up gradients.
        """
        ...

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a micro-batch's share of the loss."""
        ...

    def step(self) -> StepInfo:
        """Clip, update the weights, move the schedule on, clear the gradients."""
        ...

    def refresh(self) -> None:
        """Bring `model` up to date with what was trained."""
        ...

    def weights(self, part: int | None, num_parts: int) -> dict[str, Tensor]:
        """Return one part of all weights and saved buffers by name, as copies in CPU memory.

        Args:
            part: Which part this rank is given; None: none, but it gives its shares to the others.
            num_parts: All parts together are the model.
        """
        ...

    def state(self, part: int | None = 0, num_parts: int = 1) -> dict[str, Any]:
        """Return the state of optimiser and schedule, of the moments one part, as copies.

        All parts together mean the same to every engine and to any number of ranks.

        Args:
            part: As for `weights`.
            num_parts: As for `weights`.
        """
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a whole state: every rank has it, mapped from its file, or rank 0 alone."""
        ...
