"""The engine for one process: AdamW, a schedule with warm-up, clipping by global norm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from atlas.config.parts.optim import LrSchedulerType
from atlas.parallel.engine.protocol import StepInfo
from atlas.parallel.engine.schedule import rate_factor
from atlas.parallel.engine.stochastic_adamw import StochasticAdamW

T = TypeVar("T")


class PlainEngine:
    """One model, one optimiser, one process.

    Args:
        model: Trained in place.
        total_steps: Length of the schedule, in optimiser steps.
        warmup_ratio: Share of the steps in which the rate rises.
        weight_decay: Of matrices only; norms and biases are not decayed.
        max_grad_norm: Gradients longer than this are scaled down.
        rounding_seed: Of the stochastic rounding, where the weights are bfloat16.
    """

    world_size = 1

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        learning_rate: float,
        total_steps: int,
        scheduler: LrSchedulerType = "cosine",
        warmup_ratio: float = 0.1,
        weight_decay: float = 0.01,
        max_grad_norm: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        rounding_seed: int | None = None,
    ) -> None:
        self.model = model
        self.trained = model
        self._max_grad_norm = max_grad_norm
        trained = [p for p in model.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        self._optimizer: torch.optim.Optimizer
        if rounding_seed is None:
            self._optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=betas, fused=True)
        else:
            self._optimizer = StochasticAdamW(
                groups, lr=learning_rate, betas=betas, seed=rounding_seed
            )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer,
            lambda step: rate_factor(
                step, total_steps=total_steps, kind=scheduler, warmup_ratio=warmup_ratio
            ),
        )

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    def forward(self, compute: Callable[[PreTrainedModel], T], *, last: bool = True) -> T:
        """Return what ``compute`` makes of the model."""
        return compute(self.model)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a micro-batch's share of the loss."""
        loss.backward()

    def step(self) -> StepInfo:
        """Clip, update, move the schedule on; what isn't finite updates nothing."""
        norm = self._clip()
        rate = float(self._optimizer.param_groups[0]["lr"])
        if torch.isfinite(norm):
            self._optimizer.step()
        self._schedule.step()
        self._optimizer.zero_grad(set_to_none=True)
        return StepInfo(grad_norm=float(norm), learning_rate=rate)

    def refresh(self) -> None:
        """Do nothing: what is trained is the model itself."""

    def _clip(self) -> Tensor:
        """Scale long gradients down; return how long they were."""
        return nn.utils.clip_grad_norm_(self.trained.parameters(), self._max_grad_norm)

    def state(self) -> dict[str, Any]:
        """Return the state of optimiser and schedule."""
        return {"optimizer": self._optimizer.state_dict(), "schedule": self._schedule.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a state that `state` returned."""
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
