"""A training's configuration to its memory plan, with what it leaves open chosen so that it fits.

Input: a resolved configuration of SFT or GRPO, and on how many devices it runs. Output: a
`RunPlan`. What the configuration leaves open (`auto`) is the first that fits with room, in the
order of speed; what it says stands::

    engine                        plain or ddp, then fsdp
    gradient_checkpointing        without, then with
    max_tokens_per_micro_batch    16384, then half as many, and again
    offload                       last, and on a GPU only

Where nothing fits, the changes that would are named, those that change least first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, TypeVar

import torch

from atlas.config.grammar.schema import keys_of
from atlas.config.grpo import MOST_TOKENS, GRPOConfig, computes_whole
from atlas.config.parts.engine import EngineConfig, chosen_engine, read_deepspeed_file, zero_stage
from atlas.config.sft import SFTConfig
from atlas.config.train import TrainConfig, check_sharing, unshareable
from atlas.errors import AtlasError
from atlas.machine.precision import computes_bf16
from atlas.planning.memory_plan import (
    SCORED_TOKENS,
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
_ROOM = 0.1
"""Share of a device that is left free, where there is a choice: activations are an estimate."""
_PROMPT = 512
"""Tokens that a prompt is taken to have: none has been read yet."""
_MOST_DEVICES = 64
_SERVED = {"rollout_engine": "vllm", "student_server_url": ("http://HOST:8001",)}
"""Both sample on servers, which keep the keys and values."""
_OPEN = {"gradient_checkpointing": None, "max_tokens_per_micro_batch": None, "engine": "auto"}
"""Keys that a plan chooses where they are so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """What a training is planned for, whatever is chosen."""

    shape: ModelShape
    student: ModelShape | None
    num_devices: int
    limit: int
    limit_is: str
    on_gpu: bool
    computes_bf16: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class RunPlan:
    """What a training holds on each device."""

    setup: Setup
    device: DevicePlan
    limit: int
    """Bytes of one device."""
    limit_is: str
    """Whose limit it is."""
    chosen: Mapping[str, Any]
    """Keys that the configuration leaves open, with what they are to be."""
    passed_over: RunPlan | None = None
    """The first choice, where another one was taken."""
    place: _Place = field(repr=False)

    @property
    def fits(self) -> bool:
        """The peak is within the limit."""
        return self.device.peak <= self.limit

    @property
    def has_room(self) -> bool:
        """So is what an estimate may be wrong by."""
        return self.device.peak <= (1 - _ROOM) * self.limit

    @property
    def words(self) -> str:
        """What was chosen, as a user would write it."""
        return _words(self.chosen) or "as configured"

    def settled(self, config: C) -> C:
        """Return the configuration with what is chosen for it."""
        return replace(config, **self.chosen)

    def __str__(self) -> str:
        """What was chosen and why, in one line."""
        line = (
            f"plan: {self.words}, computed in {self.setup.precision}: "
            f"{self.device.peak / _GB:.1f} GB a device of {self.limit / _GB:.1f} GB "
            f"{self.limit_is}"
        )
        first = self.passed_over
        if first is None:
            return line
        return f"{line}; {first.words} would take {first.device.peak / _GB:.1f}"


def plan_run(
    config: SFTConfig | GRPOConfig, *, num_devices: int, on_node: int, elsewhere: bool = False
) -> RunPlan:
    """Return the plan of a training; one that doesn't fit is the smallest there is.

    Args:
        num_devices: Processes, each on a device of its own.
        on_node: Of these on one machine, where they share its memory if there is no GPU.
        elsewhere: It is for GPUs of another machine, of ``memory_limit_gb`` each.

    Raises:
        AtlasError: Nothing is known of the shape of a model, or its weights can't be shared out as
            they are.
    """
    check_sharing(config, num_devices)
    limit, limit_is = memory_limit(config.memory_limit_gb, processes=on_node)
    on_gpu = elsewhere or torch.cuda.is_available()
    place = _Place(
        shape=shape_of_model(config.model_name_or_path),
        student=_student_of(config),
        num_devices=num_devices,
        limit=limit,
        limit_is=limit_is,
        on_gpu=on_gpu,
        computes_bf16=elsewhere or (on_gpu and computes_bf16()),
    )
    return _planned(config, place)


def fitting_settings(config: SFTConfig | GRPOConfig, plan: RunPlan) -> list[str]:
    """Return settings with which the training would fit, each one or a few words."""
    found: list[dict[str, Any]] = []
    for changes in _changes(config):
        does_more = any(fewer.items() <= changes.items() for fewer in found)
        if not does_more and _planned(replace(config, **changes), plan.place).fits:
            found.append(changes)
    ways = [_words(changes) for changes in found]
    open_ = replace(config, **_released(config))
    devices = 2 * plan.place.num_devices
    while devices <= _MOST_DEVICES and unshareable(replace(open_, engine="fsdp"), devices) is None:
        if _planned(open_, replace(plan.place, num_devices=devices)).fits:
            ways.append(" ".join(filter(None, [f"{devices} devices", _words(_released(config))])))
            break
        devices *= 2
    return ways


def refusal(config: SFTConfig | GRPOConfig, plan: RunPlan) -> AtlasError:
    """Return why a plan is refused, with what would do."""
    ways = fitting_settings(config, plan)
    hint = f"; it fits with {' or '.join(ways)}" if ways else "; take a smaller model"
    least = f" at least, with {_words(plan.chosen)}" if plan.passed_over else ""
    return AtlasError(
        f"{config.model_name_or_path} needs {plan.device.peak / _GB:.1f} GB a device{least}, but "
        f"{plan.limit / _GB:.1f} GB is {plan.limit_is}{hint}"
    )


def _planned(config: TrainConfig, place: _Place) -> RunPlan:
    """Return the first plan with room; else the first that fits; else the smallest."""
    plans = [_plan(replace(config, **choice), place, choice) for choice in _choices(config, place)]
    found = next((plan for plan in plans if plan.has_room), None)
    found = found or next((plan for plan in plans if plan.fits), None)
    found = found or min(plans, key=lambda plan: plan.device.peak)
    return found if found is plans[0] else replace(found, passed_over=plans[0])


def _choices(config: TrainConfig, place: _Place) -> Iterator[dict[str, Any]]:
    """Yield what the keys that are left open may be, the fastest first."""
    engines: list[dict[str, Any]] = [{}]
    may_offload = False
    if config.engine == "auto" and not config.deepspeed and not config.offload:
        engines = [{"engine": "ddp" if place.num_devices > 1 else "plain"}]
        shareable = unshareable(replace(config, engine="fsdp"), place.num_devices) is None
        if shareable and place.num_devices > 1:
            engines.append({"engine": "fsdp"})
        may_offload = shareable and place.on_gpu
    again: Sequence[dict[str, Any]] = [{}]
    if config.gradient_checkpointing is None:
        again = [{"gradient_checkpointing": value} for value in (False, True)]
    passes: list[dict[str, Any]] = [{}]
    if isinstance(config, GRPOConfig) and config.max_tokens_per_micro_batch is None:
        least, most = config.max_new_tokens + _PROMPT, MOST_TOKENS
        passes = [{"max_tokens_per_micro_batch": most}]
        while (most := most // 2) >= least:
            passes.append({"max_tokens_per_micro_batch": most})
    yield from ({**engine, **one, **passes[0]} for engine in engines for one in again)
    yield from ({**engine, **again[-1], **fewer} for fewer in passes[1:] for engine in engines)
    if may_offload:
        kept = {"engine": "fsdp", "offload": True}
        yield from ({**kept, **one, **passes[0]} for one in again)
        yield from ({**kept, **again[-1], **fewer} for fewer in passes[1:])


def _changes(config: TrainConfig) -> Iterator[dict[str, Any]]:
    """Yield changes that save memory: of one key that was set, of several, and of what is trained.

    An adapter learns less than whole weights, so it comes last.
    """
    released = _released(config)
    for number in range(1, len(released) + 1):
        for names in combinations(released, number):
            yield {name: released[name] for name in names}
    more: list[dict[str, Any]] = []
    if isinstance(config, SFTConfig) and config.per_device_train_batch_size > 1:
        passes = config.gradient_accumulation_steps * config.per_device_train_batch_size
        more.append({"per_device_train_batch_size": 1, "gradient_accumulation_steps": passes})
    adapter = {"use_peft": True}, {"use_peft": True, "load_in_4bit": True}
    served: dict[str, Any] = {}
    if isinstance(config, GRPOConfig):
        served = dict(_SERVED)
        if config.student != "model":
            del served["student_server_url"]  # it is elsewhere already
        more.append(served)
    more += [*adapter, *({**each, **served} for each in adapter if served)]
    for changes in more:
        changed = {name: value for name, value in changes.items() if getattr(config, name) != value}
        if changed:
            yield changed
            yield {**released, **changed}


def _released(config: TrainConfig) -> dict[str, Any]:
    """Return the keys that would be chosen if they weren't set, as they are then."""
    open_ = {"deepspeed": None, **_OPEN} if config.deepspeed else _OPEN
    known = keys_of(type(config))
    return {
        name: value
        for name, value in open_.items()
        if name in known and getattr(config, name) != value
    }


def _words(settings: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={_word(name, value)}" for name, value in settings.items())


def _word(name: str, value: object) -> str:
    if value is None:
        return keys_of(GRPOConfig)[name].null
    return value[0] if isinstance(value, tuple) else str(value).lower()


def _student_of(config: SFTConfig | GRPOConfig) -> ModelShape | None:
    """Return the shape of a student that is loaded here.

    With servers, too: its likelihoods are computed here.
    """
    if not isinstance(config, GRPOConfig) or config.environment != "teaching":
        return None
    return shape_of_model(config.student_here) if config.student_here else None


def _plan(config: TrainConfig, place: _Place, chosen: Mapping[str, Any]) -> RunPlan:
    engine, stage, offload = _engine(config, place.num_devices)
    grpo = config if isinstance(config, GRPOConfig) else None
    tokens = _tokens(config)
    setup = Setup(
        shape=place.shape,
        tokens=tokens,
        precision=_precision(config, place),
        gradient_checkpointing=bool(config.gradient_checkpointing),
        num_devices=place.num_devices,
        engine=engine,
        zero_stage=stage,
        offload=offload,
        lora_rank=config.lora_r if config.use_peft else 0,
        four_bits=config.load_in_4bit,
        on_gpu=place.on_gpu,
        repeated=_repeated(grpo, tokens) if grpo and place.on_gpu else 0,
    )
    device = plan_device(
        setup,
        reference=bool(grpo and grpo.beta),
        student=place.student,
        whole=bool(grpo and computes_whole(grpo)),
        rollouts=_rollouts(grpo, place) if grpo else None,
        at_once=bool(grpo and grpo.async_rollouts),
    )
    return RunPlan(
        setup=setup,
        device=device,
        limit=place.limit,
        limit_is=place.limit_is,
        chosen=chosen,
        place=place,
    )


def _tokens(config: TrainConfig) -> int:
    """Return the tokens of the fullest forward pass."""
    if isinstance(config, GRPOConfig):
        group = config.num_generations * config.max_new_tokens + _PROMPT
        return min(config.tokens_of_a_pass, config.prompts_per_step * group)
    assert isinstance(config, SFTConfig)
    return config.per_device_train_batch_size * config.max_seq_length


def _repeated(config: GRPOConfig, tokens: int) -> int:
    """Return the tokens whose keys a pass has once its prompts are repeated for every member."""
    members = max(1, tokens // config.max_new_tokens)
    return members * (_PROMPT + config.max_new_tokens)


def _engine(config: EngineConfig, num_devices: int) -> tuple[Engine, int, bool]:
    """Return the engine, DeepSpeed's stage, and whether optimiser states are offloaded."""
    engine = chosen_engine(config, num_devices)
    if not config.deepspeed:
        return engine, 0, config.offload
    zero = read_deepspeed_file(config.deepspeed).get("zero_optimization", {})
    device = zero.get("offload_optimizer", {}).get("device", "none")
    return engine, zero_stage(config.deepspeed), device != "none"


def _precision(config: TrainConfig, place: _Place) -> Precision:
    if config.precision != "auto":
        return config.precision
    return "bf16" if place.computes_bf16 else "float32"


def _rollouts(config: GRPOConfig, place: _Place) -> dict[str, Rollouts]:
    """Return who samples or scores on a device; what does so on a server has its memory there."""
    per_device = -(-config.prompts_per_step // place.num_devices)
    rows = min(per_device * config.num_generations, max(512, config.num_generations))
    turns: dict[str, Rollouts] = {}
    if config.rollout_engine == "local":
        turns["key/value cache of the teacher"] = Rollouts(
            shape=place.shape,
            rows=rows,
            tokens=_PROMPT + config.teaching_tokens,
            copied=not config.use_peft,
        )
    if place.student is None:
        return turns
    read = _PROMPT + config.max_new_tokens
    if config.student_server_url is None:
        turns["key/value cache of the student"] = Rollouts(
            shape=place.student, rows=rows, tokens=read + config.attempt_tokens
        )
    if not config.has_tools:
        turns["likelihood of the answers"] = Rollouts(
            shape=place.student, rows=0, tokens=0, scored=min(SCORED_TOKENS, rows * read)
        )
    return turns
