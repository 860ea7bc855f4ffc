"""The engine that gives every rank a share of weights, gradients and optimiser states (FSDP2).

A layer's weights are gathered when it is computed and given up afterwards; its gradients are added
up and dealt out as soon as its backward pass is done.

    memory a rank    (weights + gradients + states) / ranks + the largest layer

and one whole copy, `model`, into which `refresh` gathers: beside them where processes sample from
it, else in rank 0's CPU memory, to be saved and published.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

from atlas.machine.precision import training_device
from atlas.parallel.distributed import Ranks
from atlas.parallel.engine.plain import PlainEngine
from atlas.parallel.engine.runner import Runner, at_home, broadcast_weights, doubled, gather_into
from atlas.parallel.state_transfer import from_main

T = TypeVar("T")
_MOMENTS = ("optimizer", "state")
"""Keys of a saved state that lead to the moments of every parameter."""


class FSDPEngine(PlainEngine):
    """Every rank holds a share of what is trained.

    Args:
        model: Becomes the whole copy; rank 0's weights count. In CPU memory, so that no device has
            to hold all of it while it is shared out.
        home: Where this rank has the whole copy then; ``meta``: nowhere.
        ready: Called with the model that is trained before it is shared out.
        offload: Keep shares in CPU memory between uses.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        ranks: Ranks,
        home: torch.device,
        ready: Callable[[PreTrainedModel], None],
        offload: bool = False,
        **recipe: Any,
    ) -> None:
        broadcast_weights(model)
        trained, model = doubled(model, home)
        ready(trained)
        self._net = _shared_out(Runner(trained), offload=offload)
        super().__init__(trained, **recipe)
        self.model = at_home(model, home)
        self.world_size = ranks.size
        self._ranks = ranks

    def forward(self, compute: Callable[[PreTrainedModel], T], *, last: bool = True) -> T:
        """Return what ``compute`` makes of the model, whose layers are gathered one by one."""
        return self._net(compute)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of this rank's share of the loss."""
        (loss * self.world_size).backward()  # FSDP takes the mean over ranks

    @property
    def device(self) -> torch.device:
        """Where layers are gathered; shares may be in CPU memory."""
        return training_device()

    def refresh(self) -> None:
        """Gather all weights into `model`."""
        shares = (_whole(p) for p in self.trained.parameters() if p.requires_grad)
        gather_into(self.model, shares)

    def state(self) -> dict[str, Any]:
        """Return the state of optimiser and schedule, whole on rank 0."""
        state = super().state()
        optimizer, kept = state["optimizer"], self._ranks.is_main
        gathered: dict[int, dict[str, Tensor]] = {}
        for index, moments in optimizer["state"].items():
            wholes = {name: _whole(value) for name, value in moments.items()}
            if kept:  # elsewhere one at a time is let go again
                gathered[index] = {name: whole.cpu() for name, whole in wholes.items()}
        return {**state, "optimizer": {**optimizer, "state": gathered}}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up rank 0's state: each rank its share."""
        parameters = [p for group in self._optimizer.param_groups for p in group["params"]]

        def share(path: tuple[Any, ...], whole: Tensor) -> Tensor:
            return _share(whole, parameters[path[2]]) if path[:2] == _MOMENTS else whole

        super().load_state(from_main(self._ranks, state, share, "state of the optimiser"))

    def _clip(self) -> Tensor:
        return _whole(super()._clip())


def _shared_out(net: Runner, *, offload: bool) -> nn.Module:
    """Share the layers out one by one, and then what is outside of them."""
    on_accelerator = training_device().type != "cpu"
    policy = CPUOffloadPolicy() if offload and on_accelerator else OffloadPolicy()
    names = set(getattr(net.model, "_no_split_modules", None) or ())
    for module in list(net.modules()):
        if type(module).__name__ in names:
            fully_shard(module, offload_policy=policy)
    fully_shard(net, offload_policy=policy)  # changes the module in place
    return net


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _share(value: Tensor, parameter: Tensor) -> Tensor:
    """Return this rank's share of a moment that is as large as its parameter."""
    if not isinstance(parameter, DTensor) or value.shape != parameter.shape:
        return value
    on_device = value.to(parameter.device)
    return distribute_tensor(
        on_device, parameter.device_mesh, parameter.placements, src_data_rank=None
    )
