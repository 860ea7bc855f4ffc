"""``config.yaml`` of a run directory: what the run was begun with, and must go on with."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from atlas.config.grammar.schema import keys_of, shortened
from atlas.config.parts.engine import EngineConfig
from atlas.config.parts.goals import LossGoalsConfig, TeachingGoalsConfig
from atlas.config.parts.record import RecordConfig
from atlas.config.parts.run import RunConfig
from atlas.config.parts.student import PACE
from atlas.config.resolve import shown_values, to_yaml
from atlas.errors import AtlasError
from atlas.run.files import write_atomic
from atlas.yaml_file import read_yaml

CHANGEABLE: Final = frozenset(
    {
        *keys_of(RecordConfig),
        *(*keys_of(LossGoalsConfig), *keys_of(TeachingGoalsConfig)),
        *(
            "evaluate_tasks",
            "logging_steps",
            "num_threads",
            "phase_timeout",
            "memory_limit_gb",
            "db_url",
        ),
        *("gradient_checkpointing", "max_tokens_per_micro_batch"),
        *("dataloader_num_workers", "vllm_server_url"),
        *PACE,
        *("student_server_url", "request_timeout", "server_timeout", "max_requests_in_flight"),
    }
)
"""Keys that decide nothing of what is learned: a run may go on with others."""
_SHARING: Final = frozenset(
    {*keys_of(EngineConfig), "gradient_accumulation_steps", "per_device_train_batch_size"}
)
"""Keys of how processes share a step. How much one step learns from must stay, so not where it is
these keys alone that say so, as in the quickstart."""
_BEFORE: Final = {"prompts": "plain"}
"""Keys younger than some runs -> what these did; of other such keys, what the default does."""
_STAGES = ("grpo_", "sft_")


def keep_config(config: RunConfig, path: Path, *, override: bool | None = None) -> None:
    """Save the configuration of a run; where one is saved already, insist that it is the same.

    Args:
        config: Of now.
        path: Where it is saved.
        override: Go on with other values of the keys in `CHANGEABLE`, and of those that say how
            processes share a step; None where the command has no option for it.

    Raises:
        AtlasError: The run was begun with other settings, which are named with both values, or its
            file is damaged.
    """
    if not path.exists():
        save_config(config, path)
        return
    before, now = read_yaml(path), shown_values(config)
    if not before:
        raise AtlasError(
            f"{path} is empty, so that nothing says what the run was begun with; bring it back, or "
            "start over with --fresh"
        )
    for key, info in keys_of(type(config)).items():
        was = _BEFORE.get(key, info.default)
        before.setdefault(key, now[key] if getattr(config, key) == was else was)
    left_open = {key for key, info in keys_of(type(config)).items() if info.null == "auto"}
    left_open &= {key for key, value in now.items() if value is None}  # the plan decides
    changed = sorted(
        key for key in (before.keys() | now.keys()) - left_open if before.get(key) != now.get(key)
    )
    fixed = [key for key in changed if key not in _SHARING and _plain(key) not in CHANGEABLE]
    if changed and override and not fixed:
        save_config(config, path)
    elif changed:
        said = "; ".join(
            f"{key} was {shortened(before.get(key))}, is {shortened(now.get(key))}"
            for key in changed
        )
        ways = "the same ones, another output_dir, or --fresh to start over"
        if override:
            ways = f"{ways}; --override-config can't change {', '.join(fixed)}"
        elif override is not None and not fixed:
            ways = "the same ones, or --override-config to go on with these"
        raise AtlasError(f"{path.parent} was begun with other settings ({said}); give {ways}")


def _plain(key: str) -> str:
    """Return a key without the stage that it is for in the quickstart."""
    return next((key.removeprefix(stage) for stage in _STAGES if key.startswith(stage)), key)


def save_config(config: RunConfig, path: Path) -> None:
    """Write every key with its value, passwords masked.

    Raises:
        AtlasError: It can't be written.
    """
    write_atomic(path, to_yaml(config))
