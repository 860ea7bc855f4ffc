"""What a run will take, before its first step: parameters, memory, precision.

Input: a configuration. Output: a `Plan` that fits, or an error that names the settings that would.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from atlas.config.ranked import AUTO, RankedConfig
from atlas.errors import AtlasError
from atlas.runtime.memory_plan import (
    MemoryPlan,
    ModelShape,
    Precision,
    Workload,
    memory_limit,
    plan_training,
)
from atlas.runtime.precision import computes_bf16
from atlas.small_lm.sizes import SIZES, num_parameters, size_named

_GB = 1e9


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What was found to fit."""

    num_parameters: int
    precision: Precision
    memory: MemoryPlan
    limit: int
    """Bytes."""
    limit_is: str
    """Whose limit it is."""


def plan_run(config: RankedConfig) -> Plan:
    """Return the plan of a run.

    Raises:
        AtlasError: It doesn't fit; settings that would are named.
    """
    limit, limit_is = memory_limit()
    if config.memory_limit_gb:
        limit, limit_is = int(config.memory_limit_gb * _GB), "memory_limit_gb"
    shape = shape_of(config.model_size)
    chosen = _first_that_fits(config, shape, limit)
    if chosen is None:
        raise AtlasError(_refusal(config, limit, limit_is))
    precision, memory = chosen
    return Plan(
        num_parameters=shape.num_parameters,
        precision=precision,
        memory=memory,
        limit=limit,
        limit_is=limit_is,
    )


def shape_of(name: str) -> ModelShape:
    """Return what of a named size decides its memory."""
    size = size_named(name)
    return ModelShape(
        num_parameters=num_parameters(size),
        num_layers=size.layers,
        hidden=size.hidden,
        intermediate=size.intermediate,
        vocab=size.vocab + size.reserved,
    )


def _first_that_fits(
    config: RankedConfig, shape: ModelShape, limit: int
) -> tuple[Precision, MemoryPlan] | None:
    for precision in _precisions(config):
        memory = plan_training(shape, _workload(config, precision))
        if memory.total <= limit:
            return precision, memory
    return None


def _precisions(config: RankedConfig) -> tuple[Precision, ...]:
    if config.precision != AUTO:
        return (config.precision,)
    # Emulated, bfloat16 is a hundred times slower than float32.
    return ("bf16" if computes_bf16() else "float32", "bf16_weights")


def _workload(config: RankedConfig, precision: Precision) -> Workload:
    return Workload(
        precision=precision,
        gradient_checkpointing=config.gradient_checkpointing,
        tokens=config.max_tokens_per_micro_batch,
    )


def _refusal(config: RankedConfig, limit: int, limit_is: str) -> str:
    shape = shape_of(config.model_size)
    least = min(
        plan_training(shape, _workload(config, precision)).total
        for precision in _precisions(config)
    )
    fitting = [
        name
        for name, other in _changes(config, limit)
        if _first_that_fits(other, shape_of(other.model_size), limit)
    ]
    hint = f"; it fits with {' or '.join(fitting)}" if fitting else ""
    return (
        f"model_size {config.model_size} needs {least / _GB:.1f} GB, but {limit / _GB:.1f} GB is "
        f"{limit_is}{hint}"
    )


def _changes(config: RankedConfig, limit: int) -> Iterator[tuple[str, RankedConfig]]:
    """Yield settings that take less, each with its name, the least change first."""
    names = ["gradient_checkpointing=true"]
    lean = replace(config, gradient_checkpointing=True)
    yield ", ".join(names), lean
    names.append("max_tokens_per_micro_batch=1024")
    fewer = replace(lean, max_tokens_per_micro_batch=min(1024, config.max_tokens_per_micro_batch))
    yield ", ".join(names), fewer
    names.append("precision=bf16_weights")
    yield ", ".join(names), replace(fewer, precision="bf16_weights")
    sizes = list(SIZES)
    for name in reversed(sizes[: sizes.index(config.model_size)]):
        other = replace(config, model_size=name)
        if _first_that_fits(other, shape_of(name), limit):
            yield f"model_size={name}", other
            return
