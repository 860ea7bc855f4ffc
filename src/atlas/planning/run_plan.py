"""A training's configuration to its memory plan, and to the settings that would make it fit.

Input: a resolved configuration of SFT or GRPO, and on how many devices it runs. Output: a
`RunPlan`; where it doesn't fit, the settings that would, the one that costs least first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch

from atlas.config.grammar.schema import keys_of
from atlas.config.grpo import GRPOConfig, computes_whole
from atlas.config.parts.engine import EngineConfig, chosen_engine, read_deepspeed_file, zero_stage
from atlas.config.sft import SFTConfig
from atlas.config.train import TrainConfig, check_sharing, unshareable
from atlas.errors import AtlasError
from atlas.machine.precision import computes_bf16
from atlas.planning.memory_plan import (
    DevicePlan,
    Engine,
    ModelShape,
    Precision,
    Rollouts,
    Setup,
    memory_limit,
    plan_device,
)
from atlas.planning.model_shapes import shape_of_model

C = TypeVar("C", bound=TrainConfig)

_GB = 1e9
_PROMPT = 512
"""Tokens that a prompt is taken to have: none has been read yet."""
_MOST_DEVICES = 64
_SERVED = {"rollout_engine": "vllm", "student_server_url": ("http://HOST:8001",)}
"""Both sample on servers, which keep the keys and values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunPlan:
    """What a training holds on each device."""

    setup: Setup
    device: DevicePlan
    limit: int
    """Bytes of one device."""
    limit_is: str
    """Whose limit it is."""

    @property
    def fits(self) -> bool:
        """The peak is within the limit."""
        return self.device.peak <= self.limit


def plan_run(config: SFTConfig | GRPOConfig, *, num_devices: int, on_node: int) -> RunPlan:
    """Return the plan of a training.

    Args:
        num_devices: Processes, each on a device of its own.
        on_node: Of these on one machine, where they share its memory if there is no GPU.

    Raises:
        AtlasError: Nothing is known of the shape of a model, or its weights can't be shared out as
            they are.
    """
    check_sharing(config, num_devices)
    shape = shape_of_model(config.model_name_or_path)
    student = _student_of(config)
    limit = memory_limit(config.memory_limit_gb, processes=on_node)
    return _plan(config, shape, student, num_devices, limit)


def fitting_settings(config: SFTConfig | GRPOConfig, plan: RunPlan) -> list[str]:
    """Return settings with which the training would fit, each one or a few words."""
    num_devices = plan.setup.num_devices
    student = _student_of(config)
    limit = plan.limit, plan.limit_is
    found: list[str] = []
    for words, changed in _changes(config, num_devices):
        does_more = any(set(fewer.split()) <= set(words.split()) for fewer in found)
        if does_more or unshareable(changed, num_devices):
            continue
        if _plan(changed, plan.setup.shape, student, num_devices, limit).fits:
            found.append(words)
    lean = _with(config, gradient_checkpointing=True, deepspeed=None, **_smallest_pass(config))
    devices = max(2, num_devices * 2)
    lean = _with(lean, engine="fsdp")
    while devices <= _MOST_DEVICES and not unshareable(lean, devices):
        if _plan(lean, plan.setup.shape, student, devices, limit).fits:
            found.append(f"{devices} devices with engine=fsdp and gradient_checkpointing=true")
            break
        devices *= 2
    return found


def refusal(config: SFTConfig | GRPOConfig, plan: RunPlan) -> AtlasError:
    """Return why a plan is refused, with what would do."""
    ways = fitting_settings(config, plan)
    hint = f"; it fits with {' or '.join(ways)}" if ways else "; take a smaller model"
    return AtlasError(
        f"{config.model_name_or_path} needs {plan.device.peak / _GB:.1f} GB a device, but "
        f"{plan.limit / _GB:.1f} GB is {plan.limit_is}{hint}"
    )


def _student_of(config: SFTConfig | GRPOConfig) -> ModelShape | None:
    """Return the shape of a student that is loaded here.

    With servers, too: its likelihoods are computed here.
    """
    if not isinstance(config, GRPOConfig) or config.environment != "teaching":
        return None
    return shape_of_model(config.student_here) if config.student_here else None


def _changes(config: C, num_devices: int) -> Iterator[tuple[str, C]]:
    """Yield changes that save memory with their words, each alone and then together."""
    small = _smallest_pass(config)
    shared: list[dict[str, Any]] = [
        {"engine": "fsdp"},
        {"engine": "fsdp", "gradient_checkpointing": True},
        {"engine": "fsdp", "gradient_checkpointing": True, **small},
    ]
    single: list[dict[str, Any]] = [
        {"gradient_checkpointing": True},
        small,
        {"gradient_checkpointing": True, **small},
        *(shared if num_devices > 1 else ()),
        {"offload": True},
        {"gradient_checkpointing": True, **small, "offload": True},
        {"use_peft": True},
        {"gradient_checkpointing": True, **small, "use_peft": True},
        {"gradient_checkpointing": True, **small, "use_peft": True, "load_in_4bit": True},
        {"gradient_checkpointing": True, **small, **_SERVED},
        {"gradient_checkpointing": True, **small, "engine": "fsdp", **_SERVED},
        {"gradient_checkpointing": True, **small, "use_peft": True, **_SERVED},
        {
            **{"gradient_checkpointing": True, **small, "use_peft": True, "load_in_4bit": True},
            **_SERVED,
        },
    ]
    known = keys_of(type(config))
    for changes in single:
        changed = {
            key: value for key, value in changes.items() if getattr(config, key, None) != value
        }
        if getattr(config, "student", "model") != "model":
            changed.pop("student_server_url", None)  # it is elsewhere already
        contradicts = "engine" in changed and config.deepspeed
        if changed and changed.keys() <= known.keys() and not contradicts:
            words = [f"{key}={_word(value)}" for key, value in changed.items()]
            yield " ".join(words), _with(config, **changed)


def _word(value: object) -> str:
    return value[0] if isinstance(value, tuple) else str(value).lower()


def _smallest_pass(config: TrainConfig) -> dict[str, Any]:
    if isinstance(config, GRPOConfig):
        least = config.max_new_tokens + _PROMPT
        return {"max_tokens_per_micro_batch": min(config.max_tokens_per_micro_batch, 2 * least)}
    return {"per_device_train_batch_size": 1}


def _with(config: C, **changes: Any) -> C:
    """Return the configuration with those of the changes that it has a key for."""
    known = keys_of(type(config))
    return replace(config, **{key: value for key, value in changes.items() if key in known})


def _plan(
    config: TrainConfig,
    shape: ModelShape,
    student: ModelShape | None,
    num_devices: int,
    limit: tuple[int, str],
) -> RunPlan:
    engine, stage, offload = _engine(config, num_devices)
    setup = Setup(
        shape=shape,
        tokens=_tokens(config),
        precision=_precision(config),
        gradient_checkpointing=config.gradient_checkpointing,
        num_devices=num_devices,
        engine=engine,
        zero_stage=stage,
        offload=offload,
        lora_rank=config.lora_r if config.use_peft else 0,
        four_bits=config.load_in_4bit,
    )
    device = plan_device(
        setup,
        reference=isinstance(config, GRPOConfig) and bool(config.beta),
        student=student,
        whole=isinstance(config, GRPOConfig) and computes_whole(config),
        rollouts=_rollouts(config, shape, student, num_devices),
    )
    return RunPlan(setup=setup, device=device, limit=limit[0], limit_is=limit[1])


def _tokens(config: TrainConfig) -> int:
    """Return the tokens of the fullest forward pass."""
    if isinstance(config, GRPOConfig):
        group = config.num_generations * config.max_new_tokens + _PROMPT
        whole = config.prompts_per_step * group
        return min(config.max_tokens_per_micro_batch, whole)
    assert isinstance(config, SFTConfig)
    return config.per_device_train_batch_size * config.max_seq_length


def _engine(config: EngineConfig, num_devices: int) -> tuple[Engine, int, bool]:
    """Return the engine, DeepSpeed's stage, and whether optimiser states are offloaded."""
    engine = chosen_engine(config, num_devices)
    if not config.deepspeed:
        return engine, 0, config.offload
    zero = read_deepspeed_file(config.deepspeed).get("zero_optimization", {})
    device = zero.get("offload_optimizer", {}).get("device", "none")
    return engine, zero_stage(config.deepspeed), device != "none"


def _precision(config: TrainConfig) -> Precision:
    if config.precision != "auto":
        return config.precision
    planned_elsewhere = bool(config.memory_limit_gb)  # for a GPU, or there would be no need
    on_gpu = torch.cuda.is_available() and computes_bf16()
    return "bf16" if planned_elsewhere or on_gpu else "float32"


def _rollouts(
    config: TrainConfig, shape: ModelShape, student: ModelShape | None, num_devices: int
) -> dict[str, Rollouts] | None:
    if not isinstance(config, GRPOConfig):
        return None
    per_device = -(-config.prompts_per_step // num_devices)
    rows = min(per_device * config.num_generations, max(512, config.num_generations))
    # What samples on a server keeps its keys and values there.
    sampled: dict[str, Rollouts] = {}
    if config.rollout_engine == "local":
        sampled["key/value cache of the teacher"] = Rollouts(
            shape=shape,
            rows=rows,
            tokens=_PROMPT + config.teaching_tokens,
            copied=not config.use_peft,
        )
    if student is not None and config.student_server_url is None:
        sampled["key/value cache of the student"] = Rollouts(
            shape=student,
            rows=rows,
            tokens=_PROMPT + config.max_new_tokens + config.attempt_tokens,
        )
    return sampled
