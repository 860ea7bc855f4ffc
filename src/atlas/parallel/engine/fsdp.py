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
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
)
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
from transformers import PreTrainedModel

from atlas.machine.copying import copied
from atlas.machine.precision import training_device
from atlas.parallel.distributed import Ranks
from atlas.parallel.engine.plain import MOMENTS, PlainEngine
from atlas.parallel.engine.runner import Runner, at_home, gather_into

T = TypeVar("T")
Ready = Callable[..., Any]


class FSDPEngine(PlainEngine):
    """Every rank holds a share of what is trained.

    Args:
        model: Becomes the whole copy; rank 0's weights count, others may have a shell. In CPU
            memory, so that no device has to hold all of it while it is shared out.
        home: Where this rank has the whole copy then; ``meta``: nowhere.
        ready: As for `shared_out`.
        offload: As for `shared_out`.
        bf16: As for `shared_out`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        ranks: Ranks,
        home: torch.device,
        ready: Ready,
        offload: bool = False,
        bf16: bool = False,
        **recipe: Any,
    ) -> None:
        self._net = shared_out(model, ranks=ranks, ready=ready, offload=offload, bf16=bf16)
        super().__init__(self._net.model, ranks=ranks, **recipe)
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


def shared_out(
    model: PreTrainedModel,
    *,
    ranks: Ranks,
    ready: Ready,
    offload: bool = False,
    bf16: bool = False,
) -> Runner:
    """Return a model of which every rank has a share, layer by layer; ``model`` stays as it is.

    Args:
        model: Rank 0's weights count; where another rank has some, they become equal.
        ready: Given rank 0's whole model it returns what it found; given each rank's model and
            that, it takes it for true.
        offload: Keep shares in CPU memory between uses.
        bf16: Layers are gathered in bfloat16, and computed in it. Autocast alone would round them
            after they were gathered, and keep all rounded ones for the backward pass.
    """
    found = ranks.on_main(lambda: ready(model), "checks of the model")
    net = Runner(copied(model, device="meta"))
    ready(net.model, found)
    on_accelerator = training_device().type != "cpu"
    mixed = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    how: Any = {
        "offload_policy": CPUOffloadPolicy() if offload and on_accelerator else OffloadPolicy(),
        "mp_policy": mixed if bf16 else MixedPrecisionPolicy(),
        "reshard_after_forward": True,  # the ends too: a vocabulary's matrix is a gigabyte
    }
    weights = _Weights(net.model, model, ranks)
    names = set(getattr(model, "_no_split_modules", None) or ())
    for module in list(net.modules()):
        if type(module).__name__ in names:
            weights.fill(module)
            fully_shard(module, **how)
    weights.fill(net)
    fully_shard(net, **how)  # changes the module in place
    return net


class _Weights:
    """Gives a shell its weights, a layer at a time: no rank holds more than that and its shares."""

    def __init__(self, shell: nn.Module, whole: nn.Module, ranks: Ranks) -> None:
        self._ranks = ranks
        self._wholes = {
            id(to): of for to, of in zip(shell.parameters(), whole.parameters(), strict=True)
        }
        self._places: dict[int, list[tuple[nn.Module, str]]] = {}
        """Of each weight: tied ones have two."""
        for module in shell.modules():
            for name, parameter in module._parameters.items():
                self._places.setdefault(id(parameter), []).append((module, name))
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[name] = self._from_main(buffer)

    def fill(self, module: nn.Module) -> None:
        """Give a module of the shell the weights that it hasn't yet."""
        for parameter in [p for p in module.parameters() if p.is_meta]:
            weight = nn.Parameter(
                self._from_main(self._wholes[id(parameter)]), parameter.requires_grad
            )
            for owner, name in self._places[id(parameter)]:
                owner._parameters[name] = weight

    @torch.no_grad()
    def _from_main(self, own: Tensor) -> Tensor:
        """Return rank 0's tensor, where passes are computed; this rank's becomes equal to it."""
        device = training_device()
        if self._ranks.is_main:
            tensor = own.detach().to(device, copy=True).contiguous()
        else:
            tensor = torch.empty(own.shape, dtype=own.dtype, device=device)
        dist.broadcast(tensor, src=0)
        if not (self._ranks.is_main or own.is_meta):
            own.copy_(tensor)
        return tensor


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
