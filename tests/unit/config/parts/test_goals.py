from __future__ import annotations

import pytest

from atlas.config.grpo import GRPOConfig
from atlas.config.parts.goals import TeachingGoalsConfig
from atlas.config.resolve import resolve
from atlas.errors import AtlasError


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"goal_kl_low": 3.0}, "goal_kl_low=3, goal_kl_high=2"),
        ({"goal_kl_collapse": 1.0}, "goal_kl_collapse=1 must rise"),
        ({"goal_non_degradation": 0.8}, "must not be above goal_non_degradation=0.8"),
    ],
)
def test_bounds_that_cross_are_refused(bounds: dict[str, float], message: str) -> None:
    config = GRPOConfig(model_name_or_path="base", student_model="base", **bounds)
    with pytest.raises(AtlasError, match=message):
        resolve(config)


def test_the_guides_bounds_are_the_defaults() -> None:
    guide = TeachingGoalsConfig()
    assert (guide.goal_kl_low, guide.goal_kl_high, guide.goal_kl_collapse) == (0.5, 2.0, 5.0)
    assert (guide.goal_non_degradation, guide.goal_non_degradation_least) == (0.95, 0.9)
