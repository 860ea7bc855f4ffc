"""Configuration, resolved: derived values filled in, contradictions refused; saved and explained.

prompts_per_step = per_device_train_batch_size × gradient_accumulation_steps × processes    (GRPO)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import yaml

from atlas.config.grammar.schema import keys_of
from atlas.config.grpo import GRPOConfig
from atlas.config.parts.run import RunConfig
from atlas.config.sft import SFTConfig
from atlas.errors import AtlasError
from atlas.masking import mask_secrets

C = TypeVar("C", bound=RunConfig)
S = TypeVar("S", bound=RunConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfigRow:
    """One key as it is shown to a person."""

    key: str
    value: str
    origin: str
    """The file that set it, ``the command line`` or ``derived``; empty for a default."""
    doc: str


def resolve(config: C, *, given: Collection[str] = (), world_size: int = 1) -> C:
    """Fill in what follows from other keys, a part at a time, the most general first.

    Args:
        given: Keys that the user set; a derived value must not contradict one of them.

    Raises:
        AtlasError: Two keys contradict each other, or a batch doesn't divide.
    """
    for part in reversed(type(config).__mro__):
        if "resolved" in vars(part):
            config = vars(part)["resolved"](config, given, world_size)
    return config


def batch_lines(config: GRPOConfig, *, world_size: int = 1) -> tuple[str, ...]:
    """Say what one step of GRPO consists of, for a person."""
    prompts, generations = config.prompts_per_step, config.num_generations
    completions = prompts * generations
    return (
        f"prompts per step: {prompts} = per_device_train_batch_size "
        f"{config.per_device_train_batch_size} × gradient_accumulation_steps "
        f"{config.gradient_accumulation_steps} × processes {world_size}",
        f"completions per step: {completions:,} = {prompts} × num_generations {generations}, "
        f"at most {completions * config.max_new_tokens:,} tokens "
        f"(max_new_tokens {config.max_new_tokens})",
        f"micro-batches: at most {config.tokens_of_a_pass:,} tokens each, prompts "
        "counted once a group (max_tokens_per_micro_batch)",
        f"optimiser steps: {config.max_steps * config.num_iterations:,} = max_steps "
        f"{config.max_steps} × num_iterations {config.num_iterations}",
    )


def supervised_lines(
    config: SFTConfig, *, num_rows: int, num_steps: int, world_size: int = 1
) -> tuple[str, ...]:
    """Say what one step of SFT consists of, for a person.

    Args:
        num_rows: What there is to learn from: examples, or rows of them where they are packed.
    """
    noun = "rows" if config.packing else "examples"
    per_step = config.per_device_train_batch_size * config.gradient_accumulation_steps * world_size
    return (
        f"{noun} per step: {per_step} = per_device_train_batch_size "
        f"{config.per_device_train_batch_size} × gradient_accumulation_steps "
        f"{config.gradient_accumulation_steps} × processes {world_size}",
        f"optimiser steps: {num_steps:,} = {num_rows:,} {noun} × num_train_epochs "
        f"{config.num_train_epochs:g} ÷ {per_step}, rounded up"
        + (f", at most max_steps {config.max_steps}" if config.max_steps else ""),
    )


def section(config: RunConfig, prefix: str, section_class: type[S], **given: Any) -> S:
    """Make a stage's configuration from a larger one, for example GRPO's from the quickstart's.

    A key of ``section_class`` takes, first found: its value in ``given``; ``<prefix>_<key>`` of
    ``config``; the key of the same name there; its own default. ``job`` and
    ``output_dir`` never come from the larger one.

    Raises:
        AtlasError: A key without a default got no value; two keys contradict each other.
    """
    values = dict(given)
    for name, info in keys_of(section_class).items():
        own = () if name in ("job", "output_dir") else (name,)
        for source in (f"{prefix}_{name}", *own):
            if name not in values and source in keys_of(type(config)):
                values[name] = getattr(config, source)
        if info.is_required and name not in values:
            raise AtlasError(f"{prefix} needs {name}, which {type(config).__name__} doesn't give")
    return resolve(section_class(**values))


def shown_values(config: RunConfig) -> dict[str, Any]:
    """Return every key with its value as it may be shown and saved: passwords masked."""
    return {name: _shown(getattr(config, name)) for name in keys_of(type(config))}


def to_yaml(config: RunConfig) -> str:
    """Return every key with its value as YAML, passwords masked; ``load_config`` reads it again."""
    values = shown_values(config)
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=1000)


def explain(config: RunConfig, origins: Mapping[str, str]) -> tuple[ConfigRow, ...]:
    """Return one row per key, in the schema's order, passwords masked.

    Args:
        origins: Who set which key, as in `atlas.config.grammar.compose.Composed`.
    """
    keys = keys_of(type(config))
    return tuple(
        ConfigRow(
            key=name,
            value=_text(value, keys[name].null),
            origin=origins.get(name)
            or ("" if getattr(config, name) == keys[name].default else "derived"),
            doc=keys[name].doc,
        )
        for name, value in shown_values(config).items()
    )


def _text(value: Any, null: str) -> str:
    if value is None:
        return null
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _shown(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_shown(element) for element in value]
    if isinstance(value, Mapping):
        return {name: _shown(element) for name, element in value.items()}
    return mask_secrets(value) if isinstance(value, str) else value
