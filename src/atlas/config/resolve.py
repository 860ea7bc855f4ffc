"""Configuration, resolved: derived values filled in, contradictions refused; saved and explained.

prompts_per_step = per_device_train_batch_size × gradient_accumulation_steps × processes    (GRPO)
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml

from atlas.config.collect import DEFAULT_NUM_TASKS, CollectConfig
from atlas.config.data import DataConfig, resolve_source
from atlas.config.evaluate import DEFAULT_NUM_EVAL_TASKS, EvaluateConfig
from atlas.config.grammar.schema import KeyInfo, RunConfig, keys_of, masked
from atlas.config.grpo import GRPOConfig
from atlas.config.model import ModelConfig, check_adapter
from atlas.config.ranked import AUTO, RankedConfig
from atlas.config.sft import SFTConfig
from atlas.errors import AtlasError

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
    """Fill in what follows from other keys.

    Args:
        config: Any job's configuration.
        given: Keys that the user set; a derived value must not contradict one of them.
        world_size: Training processes.

    Raises:
        AtlasError: Two keys contradict each other, or a batch doesn't divide.
    """
    resolved: RunConfig = config
    if isinstance(resolved, ModelConfig):
        check_adapter(resolved)
    if isinstance(resolved, DataConfig):
        resolved = resolve_source(resolved)
    if isinstance(resolved, GRPOConfig):
        _check_overlong(resolved)
        _check_servers(resolved)
        resolved = _resolve_batch(resolved, given, world_size)
    if isinstance(resolved, CollectConfig | EvaluateConfig):
        _check_one_given(resolved, given, "tasks", "families")
        resolved = _resolve_num_tasks(resolved)
    if isinstance(resolved, CollectConfig):
        _check_one_given(resolved, given, "db_url", "output")
    if isinstance(resolved, RankedConfig):
        resolved = _resolve_folders(resolved)
    return cast(C, resolved)


def batch_lines(config: GRPOConfig, *, world_size: int = 1) -> tuple[str, ...]:
    """Say what one step of GRPO consists of, for a person.

    Args:
        config: Resolved.
        world_size: Training processes.
    """
    prompts, generations = config.prompts_per_step, config.num_generations
    completions = prompts * generations
    return (
        f"prompts per step: {prompts} = per_device_train_batch_size "
        f"{config.per_device_train_batch_size} × gradient_accumulation_steps "
        f"{config.gradient_accumulation_steps} × processes {world_size}",
        f"completions per step: {completions:,} = {prompts} × num_generations {generations}, "
        f"at most {completions * config.max_new_tokens:,} tokens "
        f"(max_new_tokens {config.max_new_tokens})",
        f"micro-batches: at most {config.max_tokens_per_micro_batch:,} tokens each, prompts "
        "counted once a group (max_tokens_per_micro_batch)",
        f"optimiser steps: {config.max_steps * config.num_iterations:,} = max_steps "
        f"{config.max_steps} × num_iterations {config.num_iterations}",
    )


def supervised_lines(
    config: SFTConfig, *, num_rows: int, num_steps: int, world_size: int = 1
) -> tuple[str, ...]:
    """Say what one step of SFT consists of, for a person.

    Args:
        config: Resolved.
        num_rows: What there is to learn from: examples, or rows of them where they are packed.
        num_steps: Of the whole run.
        world_size: Training processes.
    """
    noun = "rows" if config.packing else "examples"
    per_step = config.per_device_train_batch_size * config.gradient_accumulation_steps * world_size
    return (
        f"{noun} per step: {per_step} = per_device_train_batch_size "
        f"{config.per_device_train_batch_size} × gradient_accumulation_steps "
        f"{config.gradient_accumulation_steps} × processes {world_size}",
        f"optimiser steps: {num_steps:,} = {num_rows:,} {noun} × num_train_epochs "
        f"{config.num_train_epochs:g} ÷ {per_step}, rounded up",
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


def to_yaml(config: RunConfig) -> str:
    """Return every key with its value as YAML, passwords masked; ``load_config`` reads it again."""
    values = {
        name: _plain(info, getattr(config, name)) for name, info in keys_of(type(config)).items()
    }
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=1000)


def keep_config(config: RunConfig, path: Path) -> None:
    """Save the configuration of a run; where one is saved already, insist that it is the same.

    Raises:
        AtlasError: The run was begun with other settings; they are named.
    """
    if not path.exists():
        save_config(config, path)
        return
    before = yaml.safe_load(path.read_text(encoding="utf-8"))
    now = yaml.safe_load(to_yaml(config))
    changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if changed:
        raise AtlasError(
            f"{path.parent} was begun with other settings ({', '.join(changed)}); give the same "
            "ones, another output_dir, or --fresh to start over"
        )


def save_config(config: RunConfig, path: Path) -> None:
    """Write ``to_yaml`` to ``path`` in one move, so that a crash leaves no half of a file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(to_yaml(config), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise AtlasError(f"{path} can't be written: {error.strerror}") from error


def explain(config: RunConfig, origins: Mapping[str, str]) -> tuple[ConfigRow, ...]:
    """Return one row per key, in the schema's order, passwords masked.

    Args:
        config: Resolved.
        origins: Who set which key, as in `atlas.config.grammar.compose.Composed`.
    """
    return tuple(
        ConfigRow(
            key=name,
            value=_shown(info, getattr(config, name)),
            origin=_origin(info, getattr(config, name), origins),
            doc=info.doc,
        )
        for name, info in keys_of(type(config)).items()
    )


def _resolve_batch(config: GRPOConfig, given: Collection[str], world_size: int) -> GRPOConfig:
    per_pass = config.per_device_train_batch_size * world_size
    if config.prompts_per_step == 0:
        return replace(config, prompts_per_step=per_pass * config.gradient_accumulation_steps)
    accumulation, rest = divmod(config.prompts_per_step, per_pass)
    if rest:
        near = [str(n) for n in (accumulation * per_pass, (accumulation + 1) * per_pass) if n]
        raise AtlasError(
            f"prompts_per_step={config.prompts_per_step} doesn't divide into passes of "
            f"per_device_train_batch_size={config.per_device_train_batch_size} × {world_size} "
            f"process(es); the nearest that does: {' or '.join(near)}"
        )
    if (
        accumulation != config.gradient_accumulation_steps
        and "gradient_accumulation_steps" in given
    ):
        raise AtlasError(
            f"prompts_per_step={config.prompts_per_step} and "
            f"gradient_accumulation_steps={config.gradient_accumulation_steps} contradict each "
            f"other ({per_pass} prompt(s) a pass); leave one of them out, or set "
            f"gradient_accumulation_steps={accumulation}"
        )
    return replace(config, gradient_accumulation_steps=accumulation)


def _resolve_folders(config: RankedConfig) -> RankedConfig:
    name = f"atlas_{config.model_size}"
    model_dir = f"models/{name}" if config.model_dir == AUTO else config.model_dir
    start = config.model_name_or_path
    if start is not None and Path(start).absolute() == Path(model_dir).absolute():
        raise AtlasError(
            f"model_name_or_path and model_dir are both {model_dir}: the result would take the "
            "place of what it began with; give another model_dir"
        )
    return replace(
        config,
        output_dir=f"runs/{name}" if config.output_dir == AUTO else config.output_dir,
        model_dir=model_dir,
    )


def _check_one_given(config: RunConfig, given: Collection[str], one: str, other: str) -> None:
    # Some have a default, so that only what was given tells a contradiction.
    if getattr(config, one) and other in given and getattr(config, other):
        raise AtlasError(f"{one} and {other} contradict each other; leave one of them out")


def _resolve_num_tasks(config: CollectConfig | EvaluateConfig) -> RunConfig:
    if config.num_tasks is not None or config.tasks:
        return config
    is_evaluation = isinstance(config, EvaluateConfig)
    return replace(config, num_tasks=DEFAULT_NUM_EVAL_TASKS if is_evaluation else DEFAULT_NUM_TASKS)


def _check_servers(config: GRPOConfig) -> None:
    if config.rollout_engine == "vllm":
        return
    for name in ("vllm_server_url", "async_rollouts"):
        if getattr(config, name):
            raise AtlasError(
                f"{name} and rollout_engine={config.rollout_engine} contradict each other; set "
                f"rollout_engine=vllm, or leave {name} out"
            )


def _check_overlong(config: GRPOConfig) -> None:
    if config.overlong_buffer > config.max_new_tokens:
        raise AtlasError(
            f"overlong_buffer={config.overlong_buffer} is longer than a teaching can be "
            f"(max_new_tokens={config.max_new_tokens}); lower one or raise the other"
        )


def _plain(info: KeyInfo, value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else masked(info, value)


def _shown(info: KeyInfo, value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(masked(info, value))


def _origin(info: KeyInfo, value: Any, origins: Mapping[str, str]) -> str:
    return origins.get(info.name, "" if value == info.default else "derived")
