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
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
from transformers import PreTrainedModel

from atlas.machine.precision import training_device
from atlas.parallel.distributed import Ranks
from atlas.parallel.engine.plain import MOMENTS, PlainEngine
from atlas.parallel.engine.runner import Runner, at_home, broadcast_weights, doubled, gather_into

T = TypeVar("T")


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
        super().__init__(trained, ranks=ranks, **recipe)
        self.model = at_home(model, home)

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
        gather_into(
            self.model, (self._whole(p) for p in self.trained.parameters() if p.requires_grad)
        )

    def _whole(self, parameter: Tensor) -> Tensor:
        return _whole(parameter.detach())

    def _whole_moment(self, index: int, name: str, value: Any) -> Any:
        return _whole(value)

    def _taken(self, path: tuple[Any, ...], whole: Tensor) -> Tensor | None:
        if path[:2] != MOMENTS:
            return whole.clone()
        return _share(whole, self._parameters[path[2]])

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


def _whole(tensor: Any) -> Any:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _share(value: Tensor, parameter: Tensor) -> Tensor:
    """Return this rank's share of a moment that is as large as its parameter."""
    if not isinstance(parameter, DTensor) or value.shape != parameter.shape:
        return value.clone()
    mesh, placements = parameter.device_mesh, parameter.placements
    shape, start = compute_local_shape_and_global_offset(value.shape, mesh, placements)
    # Cut out before it is moved or copied: of a file that is mapped, no other byte is read.
    own = value[tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))]
    own = own.to(parameter.device, copy=True).contiguous()
    return DTensor.from_local(
        own, mesh, placements, run_check=False, shape=value.shape, stride=parameter.stride()
    )
