"""The presets that ship, and what the guide's command gives without them."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas.config import GRPOConfig, load_config

PRESETS = Path(__file__).resolve().parents[4] / "configs" / "trainer" / "reward"
OWN = ("uplift", "hybrid", "rim_offline")


@pytest.mark.parametrize("preset", OWN)
def test_a_preset_is_chosen_by_its_name(preset: str) -> None:
    assert (PRESETS / f"{preset}.yaml").is_file()
    for word in (f"trainer/reward={preset}", f"reward={preset}"):
        assert load_config(GRPOConfig, "teacher_rcl", [word]).reward == preset


def test_without_a_choice_it_is_hybrid_and_the_trainer_stays() -> None:
    config = load_config(GRPOConfig, "teacher_rcl", ["trainer/reward=uplift", "beta=0.1"])
    assert (config.reward, config.job, config.beta) == ("uplift", "grpo", 0.1)
    assert load_config(GRPOConfig, "teacher_rcl").reward == "hybrid"
