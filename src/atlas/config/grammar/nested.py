"""The two nested blocks of the guide's YAML files -> the flat keys that they stand for.

::

    make_dataset_fn:
      _target_: custom_data.runtime_trace_data.get_runtime_trace_dataset    -> data_source
      export_path: traces/aime-batch.jsonl                                  -> export_path
      eval_split_ratio: 0.1                                                 -> eval_split_ratio
    teacher_reward:
      _target_: RIM.reward_adapter.RIMReward                                (checked, no key)
      config_path: configs/rim_offline_config.yaml                          -> rim_config

Nested and flat mean the same key. Where files give both, the later file counts, as for any key.
Naming a class in a file would be running code, so the name of a reward means what is listed here,
or nothing; this is decided before anything is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from atlas.config.data import DATA_KEYS
from atlas.config.grammar.schema import KeyInfo, nearest
from atlas.config.rim import RIMConfig, load_rim_config
from atlas.errors import AtlasError

NESTED: Final = "make_dataset_fn"
TARGET: Final = "_target_"
SOURCE: Final = "data_source"
REWARD: Final = "teacher_reward"
JUDGES: Final = "rim_config"
BLOCKS: Final = {NESTED: SOURCE, REWARD: JUDGES}
"""Block -> a key that only jobs have that know the block."""


RIM_TARGET = "atlas.rewards.judges.rim.RIMReward"
TARGETS: Mapping[str, str] = {RIM_TARGET: RIM_TARGET, "RIM.reward_adapter.RIMReward": RIM_TARGET}
"""What ``_target_`` may say -> what it means. The second is the guide's name."""
DEFAULT_CONFIG = "configs/rim_config.yaml"


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherReward:
    """A reward that is named in a file.

    Example:
        >>> parse_teacher_reward(
        ...     {"_target_": "RIM.reward_adapter.RIMReward", "config_path": "configs/mine.yaml"}
        ... )
        TeacherReward(target='atlas.rewards.judges.rim.RIMReward', config_path='configs/mine.yaml')
    """

    target: str
    config_path: str

    def rim_config(self) -> RIMConfig:
        """Read the judges' configuration.

        Raises:
            AtlasError: As `atlas.config.rim.load_rim_config`.
        """
        return load_rim_config(self.config_path)


def flat_name(argument: str) -> str:
    """Return the flat key that an argument in ``make_dataset_fn`` stands for."""
    return SOURCE if argument == TARGET else argument


def nested_values(
    content: Mapping[str, Any], where: str, keys: Mapping[str, KeyInfo]
) -> dict[str, Any]:
    """Return what the blocks in a file say, by flat key; empty where there is none.

    Args:
        content: Of the file, or of all files together.
        where: Names the file, for messages.
        keys: Of the job. A job without data has no ``make_dataset_fn``.

    Raises:
        AtlasError: A block is no mapping, or holds an argument that nothing takes.
    """
    values = _data_values(content, where, keys)
    block = content.get(REWARD)
    if block is not None and JUDGES in keys:
        reward = parse_teacher_reward(block, where=f"{REWARD} in {where}")
        values[JUDGES] = reward.config_path
    return values


def blocks_in(content: Mapping[str, Any], keys: Mapping[str, KeyInfo]) -> set[str]:
    """Return the blocks in a file that are dissolved for this job."""
    return {block for block, key in BLOCKS.items() if block in content and key in keys}


def _data_values(
    content: Mapping[str, Any], where: str, keys: Mapping[str, KeyInfo]
) -> dict[str, Any]:
    arguments = content.get(NESTED)
    if arguments is None or SOURCE not in keys:
        return {}
    if not isinstance(arguments, dict):
        raise AtlasError(f"{NESTED} in {where} must hold {TARGET} and arguments")
    known = sorted(DATA_KEYS - {SOURCE, "allow_targets"})
    for argument in arguments:
        if argument != TARGET and argument not in known:
            raise AtlasError(
                f"unknown argument '{argument}' of {NESTED} in {where}{nearest(argument, known)}"
            )
    return {flat_name(argument): value for argument, value in arguments.items()}


def flattened(
    values: Mapping[str, Any],
    files: Mapping[str, Mapping[str, Any]],
    keys: Mapping[str, KeyInfo],
    overridden: Mapping[str, str],
) -> dict[str, Any]:
    """Return the composed values with the blocks dissolved into flat keys.

    Args:
        values: As Hydra composed them, interpolations resolved.
        files: The files that they come from by path, earlier ones first.
        keys: Of the job.
        overridden: Keys that the command line sets; it beats every file.

    Raises:
        AtlasError: One file gives a key both ways, and differently.
    """
    inner = nested_values(values, "the files", keys)
    dissolved = blocks_in(values, keys)
    flat = {name: value for name, value in values.items() if name not in dissolved}
    for name, value in inner.items():
        latest = [
            (where, name in content, name in nested_values(content, where, keys))
            for where, content in files.items()
        ]
        where, is_flat, is_nested = next(
            (entry for entry in reversed(latest) if entry[1] or entry[2]), ("", False, True)
        )
        if name in overridden or (is_flat and not is_nested):
            continue
        if is_flat and flat[name] != value:
            block = REWARD if name == JUDGES else NESTED
            raise AtlasError(f"{where} gives {name} in {block} and outside, with other values")
        flat[name] = value
    return flat


def parse_teacher_reward(content: object, *, where: str = "teacher_reward") -> TeacherReward:
    """Check the content of a ``teacher_reward`` block.

    Args:
        content: The mapping under the key.
        where: The file, for messages.

    Raises:
        AtlasError: It names no reward that there is, or holds another key.
    """
    if not isinstance(content, Mapping):
        raise AtlasError(f"{where} must hold _target_ and config_path")
    for name in content:
        if name not in ("_target_", "config_path"):
            raise AtlasError(
                f"unknown key '{name}' in {where}{nearest(str(name), ('_target_', 'config_path'))}"
            )
    target = str(content.get("_target_", RIM_TARGET))
    if target not in TARGETS:
        raise AtlasError(f"_target_ of {where} is no reward: '{target}'{nearest(target, TARGETS)}")
    path = str(content.get("config_path", DEFAULT_CONFIG))
    return TeacherReward(target=TARGETS[target], config_path=path)
