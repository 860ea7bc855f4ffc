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

from collections.abc import Container, Mapping
from typing import Any, Final

from atlas.config.grammar.schema import KeyInfo, nearest
from atlas.config.parts.data import DATA_KEYS
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


def flat_name(argument: str) -> str:
    """Return the flat key that an argument in ``make_dataset_fn`` stands for."""
    return SOURCE if argument == TARGET else argument


def flattened(
    content: Mapping[str, Any], where: str, keys: Mapping[str, KeyInfo], beaten: Container[str]
) -> dict[str, Any]:
    """Return what a file says by flat key, its blocks dissolved.

    Args:
        keys: Of the job. A job without data has no ``make_dataset_fn``.
        beaten: Keys that the command line sets, so that a file may contradict itself in them.

    Raises:
        AtlasError: A block is no mapping, or holds an argument that nothing takes; the file gives a
            key both ways, and differently.
    """
    flat = {name: value for name, value in content.items() if BLOCKS.get(name) not in keys}
    for block in BLOCKS.keys() & content.keys() - flat.keys():
        read = parse_make_dataset_fn if block == NESTED else parse_teacher_reward
        inner = {} if content[block] is None else read(content[block], where=f"{block} in {where}")
        for name, value in inner.items():
            if flat.setdefault(name, value) != value and name not in beaten:
                raise AtlasError(f"{where} gives {name} in {block} and outside, with other values")
    return flat


def parse_make_dataset_fn(content: object, *, where: str = NESTED) -> dict[str, Any]:
    """Return what a ``make_dataset_fn`` block says, by flat key.

    Raises:
        AtlasError: It is no mapping, or holds an argument that no source takes.
    """
    if not isinstance(content, Mapping):
        raise AtlasError(f"{where} must hold {TARGET} and arguments")
    known = sorted(DATA_KEYS - {SOURCE, "allow_targets"})
    for argument in content:
        if argument != TARGET and argument not in known:
            raise AtlasError(f"unknown argument '{argument}' of {where}{nearest(argument, known)}")
    return {flat_name(argument): value for argument, value in content.items()}


def parse_teacher_reward(content: object, *, where: str = REWARD) -> dict[str, Any]:
    """Return what a ``teacher_reward`` block says, by flat key: the judges' file.

    Example:
        >>> parse_teacher_reward({"_target_": "RIM.reward_adapter.RIMReward", "config_path": "a"})
        {'rim_config': 'a'}

    Raises:
        AtlasError: It names no reward that there is, or holds another key.
    """
    if not isinstance(content, Mapping):
        raise AtlasError(f"{where} must hold _target_ and config_path")
    for name in content:
        if name not in (TARGET, "config_path"):
            raise AtlasError(
                f"unknown key '{name}' in {where}{nearest(name, (TARGET, 'config_path'))}"
            )
    target = content.get(TARGET, RIM_TARGET)
    if target not in TARGETS:
        raise AtlasError(
            f"_target_ of {where} is no reward: '{target}'{nearest(str(target), TARGETS)}"
        )
    return {JUDGES: content.get("config_path", DEFAULT_CONFIG)}
