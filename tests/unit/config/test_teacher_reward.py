from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import yaml

from atlas.config.teacher_reward import TARGETS, parse_teacher_reward
from atlas.errors import AtlasError

SHIPPED = (
    Path(__file__).resolve().parents[3] / "configs" / "trainer" / "reward" / "rim_teaching.yaml"
)


def test_the_guides_block_means_the_judges_with_the_offline_file() -> None:
    block = yaml.safe_load(SHIPPED.read_text())["teacher_reward"]
    assert block["_target_"] == "RIM.reward_adapter.RIMReward"
    reward = parse_teacher_reward(block)
    assert reward.target == "atlas.rewards.rim.RIMReward"
    assert reward.rim_config().active == ("helpfulness", "process")


def test_what_a_name_means_is_there() -> None:
    for target in TARGETS.values():
        module, _, name = target.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"_target_": "RIM.reward_adaptor.RIMReward"}, "did you mean 'RIM.reward_adapter.RIMRewa"),
        ({"_target_": "os.system"}, "_target_ of teacher_reward is no reward: 'os.system'"),
        ({"_target_": "os.system", "command": "ls"}, "unknown key 'command'"),
        ({"config_pth": "x"}, "unknown key 'config_pth' in teacher_reward; did you mean"),
        ("RIM", "must hold _target_ and config_path"),
    ],
)
def test_anything_else_is_refused(content: object, says: str) -> None:
    with pytest.raises(AtlasError, match=says):
        parse_teacher_reward(content)
