"""From configuration to the parts of the reward."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from atlas.config.grpo import GRPOConfig
from atlas.errors import AtlasError
from atlas.rewards.composition import Reward
from atlas.rewards.configured import configured_reward, uplift_weights
from atlas.types import Score


def config(**keys: Any) -> GRPOConfig:
    return GRPOConfig(model_name_or_path="m", student_model="s", **keys)


def judges(lessons: Any) -> list[Score]:
    return [Score(value=1.0) for _ in lessons]


def test_the_default_is_uplift_until_there_are_judges() -> None:
    assert configured_reward(config()) == Reward()
    reward = configured_reward(config(), {"rim": judges})
    assert [(part.name, part.weight, part.gate) for part in reward.parts] == [
        ("uplift", 1.0, "always"),
        ("rim", 0.5, "right"),
    ]
    assert reward.scorers == {"rim": judges}
    assert configured_reward(config(reward="uplift"), {"rim": judges}) == Reward()


def test_the_keys_reach_their_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("keyed_reward.py").write_text("def reward(task, answer): return 2.0\n")
    reward = configured_reward(
        config(
            reward="uplift",
            reward_function="keyed_reward.reward",
            allow_targets=("keyed_reward.reward",),
            reward_function_weight=0.25,
            reward_function_cap=1.5,
            reward_function_gated=True,
            reward_function_required=False,
        )
    )
    own = reward.parts[-1]
    assert (own.name, own.weight, own.cap, own.gate, own.required) == (
        *("own", 0.25, 1.5, "right"),
        False,
    )
    assert set(reward.scorers) == {"own"}
    assert uplift_weights(config(reward_dense_weight=0.7)).dense == 0.7


def test_judges_alone_need_judges_and_a_function_needs_leave() -> None:
    with pytest.raises(AtlasError, match="rim_offline"):
        configured_reward(config(reward="rim_offline"))
    with pytest.raises(AtlasError, match="allow_targets"):
        configured_reward(config(reward_function="os.getcwd"))
