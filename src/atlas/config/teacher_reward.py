"""The guide's ``teacher_reward`` block: a name in a YAML file -> the judges' configuration file.

Naming a class in a file would be running code, so a name means what is listed here, or nothing.
This is decided before anything is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from atlas.config.rim import RIMConfig, load_rim_config
from atlas.config.schema import nearest
from atlas.errors import AtlasError

RIM_TARGET = "atlas.rewards.rim.RIMReward"
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
        TeacherReward(target='atlas.rewards.rim.RIMReward', config_path='configs/mine.yaml')
    """

    target: str
    config_path: str

    def rim_config(self) -> RIMConfig:
        """Read the judges' configuration.

        Raises:
            AtlasError: As `atlas.config.rim.load_rim_config`.
        """
        return load_rim_config(self.config_path)


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
