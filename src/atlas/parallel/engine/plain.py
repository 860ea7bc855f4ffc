"""The engine for one process: AdamW, a schedule with warm-up, clipping by global norm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from atlas.config.parts.optim import LrSchedulerType
from atlas.parallel.distributed import ALONE, Ranks
from atlas.parallel.engine.protocol import StepInfo
from atlas.parallel.engine.schedule import rate_factor
from atlas.parallel.engine.stochastic_adamw import StochasticAdamW
from atlas.parallel.state_transfer import on_all

T = TypeVar("T")
MOMENTS = ("optimizer", "state")
"""Keys of a saved state that lead to the moments of every parameter."""


class PlainEngine:
    """One model, one optimiser, one process; the engines of several begin from it.

    Args:
        model: Trained in place.
        ranks: Who trains together.
        total_steps: Length of the schedule, in optimiser steps.
        warmup_ratio: Share of the steps in which the rate rises.
        weight_decay: Of matrices only; norms and biases are not decayed.
        max_grad_norm: Gradients longer than this are scaled down.
        rounding_seed: Of the stochastic rounding, where the weights are bfloat16.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        ranks: Ranks = ALONE,
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
        self._ranks = ranks
        self.world_size = ranks.size
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
        self._parameters = [p for group in groups for p in group["params"]]
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

    @torch.no_grad()
    def weights(self, part: int | None, num_parts: int) -> dict[str, Tensor]:
        """Return one part of the weights by name, as copies in CPU memory."""
        named: dict[int, tuple[str, Tensor]] = {}
        for name, tensor in self.trained.state_dict(keep_vars=True).items():
            named.setdefault(id(tensor), (name, tensor))  # of tied ones the first
        parts = _neighbours([tensor.numel() for _, tensor in named.values()], num_parts)
        kept: dict[str, Tensor] = {}
        for (name, tensor), owner in zip(named.values(), parts, strict=True):
            whole = self._whole(tensor)
            if owner == part:
                kept[name] = whole.to("cpu", copy=True)
        return kept

    @torch.no_grad()
    def state(self, part: int | None = 0, num_parts: int = 1) -> dict[str, Any]:
        """Return one part of the state of optimiser and schedule, as copies in CPU memory."""
        groups, found = self._moments()
        parts = _neighbours([sum(map(_size, m.values())) for m in found.values()], num_parts)
        kept: dict[int, dict[str, Any]] = {}
        for (index, moments), owner in zip(found.items(), parts, strict=True):
            wholes = {name: self._whole_moment(index, name, m) for name, m in moments.items()}
            if owner == part:  # elsewhere one parameter's at a time is let go again
                kept[index] = {
                    name: m.to("cpu", copy=True) if isinstance(m, Tensor) else m
                    for name, m in wholes.items()
                }
        optimizer = {"state": kept, "param_groups": groups}
        return {"optimizer": optimizer, "schedule": dict(self._schedule.state_dict())}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a state that `state` returned."""
        state = on_all(self._ranks, state, self._taken, "state of the optimiser")
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])

    def _whole(self, parameter: Tensor) -> Tensor:
        """Return a weight, or a buffer, of which this rank may hold a share; all take part."""
        return parameter.detach()

    def _moments(self) -> tuple[list[dict[str, Any]], dict[int, dict[str, Any]]]:
        """Return the optimiser's groups, and the moments of every parameter by its number."""
        state = self._optimizer.state_dict()
        return state["param_groups"], state["state"]

    def _whole_moment(self, index: int, name: str, value: Any) -> Any:
        return value

    def _taken(self, path: tuple[Any, ...], whole: Tensor) -> Tensor | None:
        """Return what this rank keeps of a tensor of the state, and where it keeps it."""
        if path[:2] != MOMENTS or not whole.ndim:
            return whole.clone()
        return whole.to(self._parameters[path[2]].device, copy=True)


def _size(value: Any) -> int:
    return value.numel() if isinstance(value, Tensor) else 1


def _neighbours(sizes: Sequence[int], num_parts: int) -> list[int]:
    """Return which part each of a row of things is in: neighbours, of about the same size in sum.

    What says no size (a weight that DeepSpeed has taken away) counts as 1.
    """
    known = [max(1, size) for size in sizes]
    before = accumulate(known, initial=0)
    return [start * num_parts // sum(known) for start, _ in zip(before, known, strict=False)]
