"""What a training loop asks of an engine, and of nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor
from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True, slots=True)
class StepInfo:
    """What one optimiser step did."""

    grad_norm: float
    """Global L2 norm of the gradients before clipping."""
    learning_rate: float
    """The rate that the step used."""


class Engine(Protocol):
    """Runs backward passes and optimiser steps of one model."""

    model: PreTrainedModel

    @property
    def world_size(self) -> int:
        """Processes that train together."""
        ...

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a micro-batch's share of the loss."""
        ...

    def step(self) -> StepInfo:
        """Clip, update the weights, move the schedule on, clear the gradients."""
        ...

    def state(self) -> dict[str, Any]:
        """Return the state of optimiser and schedule, to be saved by `torch.save`."""
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a state that `state` returned."""
        ...
