"""The engine that trains through DeepSpeed: ZeRO of any stage, states in CPU memory if asked for.

    stage 1    optimiser states are shared out
    stage 2    gradients too
    stage 3    weights too; `model` is then a whole copy, as with FSDP (fsdp.py)

Optimiser, schedule, clipping and what a step is stay ours, so that every engine trains alike.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from atlas.errors import AtlasError
from atlas.installing import install_command
from atlas.machine.precision import training_device
from atlas.parallel.distributed import Ranks
from atlas.parallel.engine.plain import MOMENTS, PlainEngine
from atlas.parallel.engine.protocol import StepInfo
from atlas.parallel.engine.runner import Runner, at_home, broadcast_weights, doubled, gather_into
from atlas.parallel.state_transfer import on_all

T = TypeVar("T")

_MOMENTS = ("exp_avg", "exp_avg_sq")


class DeepSpeedEngine(PlainEngine):
    """What ranks share is said by DeepSpeed's settings.

    Args:
        model: Trained in place up to stage 2; becomes the whole copy at stage 3. Rank 0's weights
            count.
        home: Where this rank has the whole copy at stage 3; ``meta``: nowhere.
        ready: Called with the model that is trained before it is shared out.

    Raises:
        AtlasError: DeepSpeed isn't installed, or refuses the settings.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        ranks: Ranks,
        home: torch.device,
        settings: Mapping[str, Any],
        ready: Callable[[PreTrainedModel], None],
        **recipe: Any,
    ) -> None:
        broadcast_weights(model)
        shared = settings["zero_optimization"].get("stage", 0) == 3
        trained, model = doubled(model, home) if shared else (model, model)
        ready(trained)
        super().__init__(trained, ranks=ranks, **recipe)
        self._group_sizes = [len(group["params"]) for group in self._optimizer.param_groups]
        self._net: Any = _initialize(Runner(trained), self._optimizer, settings)
        _make_states(self._net.optimizer, self._optimizer)
        self._shared = shared
        self.model = at_home(model, home) if shared else model

    def forward(self, compute: Callable[[PreTrainedModel], T], *, last: bool = True) -> T:
        """Return what ``compute`` makes of the model."""
        self._net.set_gradient_accumulation_boundary(last)
        return self._net(compute)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of this rank's share of the loss."""
        self._net.backward(loss * self.world_size)  # DeepSpeed takes the mean over ranks

    def step(self) -> StepInfo:
        """Clip, update, move the schedule on.

        Raises:
            AtlasError: The gradients were not finite; the weights are spoilt, checkpoints are not.
        """
        rate = float(self._optimizer.param_groups[0]["lr"])
        self._net.step()
        self._schedule.step()
        norm = torch.as_tensor(self._net.get_global_grad_norm())
        if not torch.isfinite(norm):
            raise AtlasError(
                "the gradients are not finite; lower learning_rate, or resume from the last "
                "checkpoint"
            )
        return StepInfo(grad_norm=float(norm), learning_rate=rate)

    @property
    def device(self) -> torch.device:
        """Where layers are gathered; shares may be in CPU memory."""
        return training_device()

    def refresh(self) -> None:
        """Gather all weights into `model`, where it is a copy."""
        if self._shared:
            shares = (self._whole(p) for p in self.trained.parameters() if p.requires_grad)
            gather_into(self.model, shares)

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a state: each rank its share."""
        state = on_all(self._ranks, state, self._taken, "state of the optimiser")
        moments = state["optimizer"]["state"]
        for kept in self._optimizer.state.values():
            if "step" in kept:
                place = kept[_MOMENTS[0]].device
                kept["step"] = torch.as_tensor(moments[0]["step"], device=place).clone()
        self._schedule.load_state_dict(state["schedule"])
        for group, rate in zip(
            self._optimizer.param_groups, self._schedule.get_last_lr(), strict=True
        ):
            group["lr"] = rate

    def _whole(self, parameter: Tensor) -> Tensor:
        if self._shared and parameter.requires_grad:
            return _library().utils.safe_get_full_fp32_param(parameter)
        return parameter.detach()

    def _moments(self) -> tuple[list[dict[str, Any]], dict[int, dict[str, Any]]]:
        """Return groups and moments as a plain optimiser's state has them; here still shares."""
        steps = [m["step"] for m in self._optimizer.state.values() if "step" in m]
        step = torch.as_tensor(float(steps[0]) if steps else 0.0)
        shares = {"step": step, **dict.fromkeys(_MOMENTS)}
        return self._plain_groups(), dict.fromkeys(range(len(self._parameters)), shares)

    def _whole_moment(self, index: int, name: str, value: Any) -> Any:
        if name not in _MOMENTS:
            return value
        return _library().utils.safe_get_full_optimizer_state(self._parameters[index], name)

    @torch.no_grad()
    def _taken(self, path: tuple[Any, ...], whole: Tensor) -> Tensor | None:
        if path[:2] != MOMENTS or path[3] not in _MOMENTS:
            return whole
        parameter = self._parameters[path[2]]
        value = whole.to(parameter.device)
        _library().utils.safe_set_full_optimizer_state(parameter, value, path[3])
        return None

    def _plain_groups(self) -> list[dict[str, Any]]:
        """Return the groups as a plain optimiser's state has them: parameters by number."""
        groups, first = [], 0
        for group, size in zip(self._optimizer.param_groups, self._group_sizes, strict=True):
            kept = {name: value for name, value in group.items() if name != "params"}
            groups.append({**kept, "params": list(range(first, first + size))})
            first += size
        return groups


def _make_states(zero: Any, optimizer: torch.optim.Optimizer) -> None:
    """Make the moments now: DeepSpeed finds those of later groups only if they are there already.

    (It links a parameter to its moments after the first group's first step, and then never again.)
    """
    flat = getattr(zero, "single_partition_of_fp32_groups", None)
    for share in zero.fp32_partitioned_groups_flat if flat is None else flat:
        moments = {name: torch.zeros_like(share) for name in _MOMENTS}
        # AdamW's fused kernel wants the count where the weights are.
        optimizer.state[share] = {"step": torch.zeros((), device=share.device), **moments}
    if flat is not None:
        zero._lazy_init_hp_params_optimizer_state()


def _library() -> Any:
    """Return DeepSpeed, quiet.

    Raises:
        AtlasError: It isn't installed.
    """
    if find_spec("deepspeed") is None:
        raise AtlasError(
            f"engine=deepspeed needs the package deepspeed: {install_command('deepspeed')}; "
            "engine=fsdp shares weights and states without it"
        )
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    # It calls what PyTorch has meanwhile given other names, at every exchange.
    warnings.filterwarnings("ignore", r".*torch\.distributed\..* is deprecated", FutureWarning)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("deepspeed")


def _initialize(
    net: nn.Module, optimizer: torch.optim.Optimizer, settings: Mapping[str, Any]
) -> Any:
    library = _library()
    backend = "nccl"
    if training_device().type == "cpu":
        backend = "gloo"
        # Its own exchange through shared memory would be compiled first, a minute on each machine.
        importlib.import_module("deepspeed.ops").__compatible_ops__["deepspeed_shm_comm"] = False
    try:
        library.init_distributed(dist_backend=backend)
        if settings["zero_optimization"].get("stage", 0) == 3:
            # One weight after the other: left to itself it moves all to the device first.
            library.zero.Init(module=net, config_dict_or_path=dict(settings), dtype=torch.float32)
            for buffer in net.buffers():
                buffer.data = buffer.data.to(training_device())
        net_engine, *_ = library.initialize(model=net, optimizer=optimizer, config=dict(settings))
    except (AssertionError, ValueError, RuntimeError) as error:
        raise AtlasError(f"DeepSpeed refuses its settings: {error}") from error
    return net_engine
