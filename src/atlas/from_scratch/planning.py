"""What a run will take, before its first step: parameters, memory, and settings that make it fit.

Input: a configuration. Output: a `FittingPlan`, or an error that names settings that would fit.

Settings that the user left open are chosen here: the first combination that fits, in the order of
speed. What the user set is never changed::

    precision                    bf16 or float32, then bf16_weights
    gradient_checkpointing       off, then on
    max_tokens_per_micro_batch   8192, 4096, ... 512
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

from atlas.config.ranked import AUTO, RankedConfig
from atlas.data.ranked import RankedRecord
from atlas.errors import AtlasError
from atlas.from_scratch.model.sizes import SIZES, num_parameters, size_named
from atlas.machine.precision import computes_bf16
from atlas.models.checkpoints import load_tokenizer
from atlas.planning.memory_plan import (
    LIBRARIES,
    DevicePlan,
    ModelShape,
    Precision,
    Setup,
    memory_limit,
    plan_device,
)
from atlas.planning.model_shapes import shape_of_model

_GB = 1e9
_TOKENS = (8192, 4096, 2048, 1024, 512)
_MOST_ROWS = 512
"""More answers at a time aren't faster."""
_ALWAYS_THERE = 2_000_000_000
"""Bytes that answers may take where training took less."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemorySettings:
    """What decides the memory of a run, and how fast it is."""

    precision: Precision
    gradient_checkpointing: bool
    max_tokens: int
    """Of one forward pass."""

    def __str__(self) -> str:
        """As a user would write it."""
        return (
            f"precision={self.precision} "
            f"gradient_checkpointing={str(self.gradient_checkpointing).lower()} "
            f"max_tokens_per_micro_batch={self.max_tokens}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class FittingPlan:
    """What was found to fit."""

    num_parameters: int
    settings: MemorySettings
    memory: DevicePlan
    limit: int
    """Bytes."""
    limit_is: str
    """Whose limit it is."""
    passed_over: tuple[MemorySettings, DevicePlan] | None
    """The fastest settings, where they don't fit."""


def plan_run(config: RankedConfig, *, longest: int = 0) -> FittingPlan:
    """Return the plan of a run.

    Args:
        longest: Tokens of the longest prompt with all its responses; they go through together.

    Raises:
        AtlasError: It doesn't fit; settings that would are named. Or ``max_seq_length`` is longer
            than the model's window.
    """
    shape = shape_of(config)
    if 0 < shape.window < config.max_seq_length:
        raise AtlasError(
            f"max_seq_length is {config.max_seq_length}, but the window of {_model_of(config)} is "
            f"{shape.window} tokens; lower it"
        )
    if config.model_name_or_path is not None and config.tokenizer != AUTO:
        entries = _entries(config.tokenizer)
        if entries > shape.vocab:
            raise AtlasError(
                f"tokenizer {config.tokenizer} has {entries} entries, but "
                f"{config.model_name_or_path} knows {shape.vocab}; leave tokenizer out"
            )
    limit, limit_is = memory_limit(config.memory_limit_gb)
    candidates = [
        (settings, memory_of(config, settings, longest)) for settings in _candidates(config)
    ]
    chosen = next((c for c in candidates if c[1].peak <= limit), None)
    if chosen is None:
        raise AtlasError(_refusal(config, limit, limit_is, longest))
    return FittingPlan(
        num_parameters=shape.num_parameters,
        settings=chosen[0],
        memory=chosen[1],
        limit=limit,
        limit_is=limit_is,
        passed_over=None if chosen is candidates[0] else candidates[0],
    )


def longest_of(records: Iterable[RankedRecord], config: RankedConfig) -> int:
    """Return how many tokens the longest prompt with its responses can have: no tokenizer needs
    more than one a byte, and nothing longer than ``max_seq_length`` is kept.
    """
    most = config.max_seq_length
    marks = 3  # of the user's turn, its end and the assistant's
    lengths = (
        min(len(record.prompt.encode()) + marks, most)
        + sum(min(len(text.encode()) + 1, most) for text in record.responses)
        for record in records
    )
    return max(lengths, default=0)


def shape_of(config: RankedConfig) -> ModelShape:
    """Return what decides the memory of the configured size, or of the model that is named."""
    if config.model_name_or_path is not None:
        return shape_of_model(config.model_name_or_path)
    size = size_named(config.model_size)
    entries = config.vocab_size if config.tokenizer == AUTO else _entries(config.tokenizer)
    rows = max(size.vocab + size.reserved, entries)
    return ModelShape(
        num_parameters=num_parameters(size, rows),
        num_layers=size.layers,
        hidden=size.hidden,
        intermediate=size.intermediate,
        vocab=rows,
        kv_width=size.hidden,
        window=size.window,
    )


@cache
def _entries(tokenizer: str) -> int:
    return len(load_tokenizer(tokenizer))


def memory_of(config: RankedConfig, settings: MemorySettings, longest: int) -> DevicePlan:
    """Return what a run takes under some settings."""
    largest_step = config.batch_size * longest or settings.max_tokens
    if "pretrain" in config.stages:
        largest_step = max(largest_step, config.pretrain_tokens_per_step)
        if config.corpus is not None:
            longest = max(longest, config.max_seq_length)  # a row of it
    setup = Setup(
        shape=shape_of(config),
        tokens=max(min(settings.max_tokens, largest_step), longest),
        precision=settings.precision,
        computes_bf16=computes_bf16(),
        gradient_checkpointing=settings.gradient_checkpointing,
    )
    return plan_device(setup)


def answer_rows(
    config: RankedConfig, settings: MemorySettings, *, longest: int, tokens: int
) -> int:
    """Return how many answers can be written at a time in what the training took, or in 2 GB.

    Gradients and states are gone then; in their place are the weights as they are decoded from,
    and the keys and values of every answer, whose buffers grow by halves.

    Args:
        longest: As for `plan_run`.
        tokens: Of the longest prompt with its answer.
    """
    shape = shape_of(config)
    size = 2 if settings.precision == "bf16_weights" and computes_bf16() else 4
    held = LIBRARIES + 2 * size * shape.num_parameters
    row = 2 * shape.num_layers * shape.kv_width * size * tokens * 3 // 2
    least = min(_ALWAYS_THERE, int(config.memory_limit_gb * _GB) or _ALWAYS_THERE)
    room = max(least, memory_of(config, settings, longest).peak) - held
    return max(1, min(_MOST_ROWS, room // row))


def _candidates(config: RankedConfig) -> list[MemorySettings]:
    """Return the settings that the configuration leaves open, the fastest first."""
    # Emulated, bfloat16 is a hundred times slower than float32.
    open_precisions: tuple[Precision, ...] = (
        "bf16" if computes_bf16() else "float32",
        "bf16_weights",
    )
    checkpointing, tokens = config.gradient_checkpointing, config.max_tokens_per_micro_batch
    choices = product(
        open_precisions if config.precision == AUTO else (config.precision,),
        (False, True) if checkpointing is None else (checkpointing,),
        (tokens,) if tokens else _TOKENS,
    )
    return [
        MemorySettings(precision=precision, gradient_checkpointing=recomputed, max_tokens=most)
        for precision, recomputed, most in choices
    ]


def _refusal(config: RankedConfig, limit: int, limit_is: str, longest: int) -> str:
    least = min(memory_of(config, s, longest).peak for s in _candidates(config))
    hints = [name for name, other in _changes(config) if _fits(other, limit, longest)]
    hint = f"; it fits with {' or '.join(hints[:2])}" if hints else ""
    return (
        f"{_model_of(config)} needs {least / _GB:.1f} GB, but {limit / _GB:.1f} GB is "
        f"{limit_is}{hint}"
    )


def _model_of(config: RankedConfig) -> str:
    return config.model_name_or_path or f"model_size {config.model_size}"


def _fits(config: RankedConfig, limit: int, longest: int) -> bool:
    return any(memory_of(config, s, longest).peak <= limit for s in _candidates(config))


def _changes(config: RankedConfig) -> Iterator[tuple[str, RankedConfig]]:
    """Yield configurations that take less, each with its name, the least change first."""
    words: list[str] = []
    for name, value in (
        ("gradient_checkpointing", True),
        ("max_tokens_per_micro_batch", min(config.max_tokens_per_micro_batch, 512)),
        ("precision", "bf16_weights"),
    ):
        if getattr(config, name) not in (None, 0, AUTO, value):
            config = replace(config, **{name: value})  # pyright: ignore[reportArgumentType]
            words.append(f"{name}={str(value).lower()}")
            yield ", ".join(words), config
    if config.model_name_or_path is not None:
        return
    sizes = list(SIZES)
    for name in reversed(sizes[: sizes.index(config.model_size)]):
        smaller = [*words, f"model_size={name}"]
        yield ", ".join(smaller), replace(config, model_size=name)  # pyright: ignore[reportArgumentType]
