"""Whether a step succeeded, from curves made up for it."""

from __future__ import annotations

import pytest

from atlas.config.parts.goals import GoalsConfig, LossGoalsConfig, TeachingGoalsConfig
from atlas.run.goals import (
    Curve,
    Goal,
    bounds_in,
    change,
    goal_lines,
    goals_of,
    tail_mean,
)


def flat(value: float, steps: int = 30) -> Curve:
    return tuple((float(step), value) for step in range(steps))


def slope(rise: float, steps: int = 30) -> Curve:
    return tuple((float(step), 0.5 + rise * step / steps) for step in range(steps))


def the_goal(stage: str, metric: str, curve: Curve, **settings: float) -> Goal:
    (found,) = goals_of(stage, {metric: curve}, bounds_in(stage, settings))
    return found


@pytest.mark.parametrize(
    ("metric", "value", "state", "said"),
    [
        ("train/kl", 1.2, "met", ""),
        ("train/kl", 3.5, "missed", "0.5 to 2 is healthy"),
        ("train/kl", 7.0, "missed", "above 5 suggests collapse"),
        ("train/kl", 0.001, "missed", "hardly moved"),
        ("train/non_degrade_rate", 0.96, "met", ""),
        ("train/non_degrade_rate", 0.92, "missed", "from 95% on is healthy"),
        ("train/non_degrade_rate", 0.85, "missed", "below 90% something is wrong"),
        ("train/grad_norm", 4.9, "met", ""),
        ("train/grad_norm", 5.1, "missed", "below 5 is healthy"),
    ],
)
def test_both_ends_of_the_guides_ranges_are_told(
    metric: str, value: float, state: str, said: str
) -> None:
    found = the_goal("grpo", metric, flat(value))
    assert found.state == state
    assert (said in found.what) if said else found.what == ""


@pytest.mark.parametrize("metric", ["train/reward", "rim_rewards"])
def test_a_score_has_to_rise(metric: str) -> None:
    assert the_goal("grpo", metric, slope(0.3)).state == "met"
    assert "falls (-0.20" in the_goal("grpo", metric, slope(-0.3)).what
    assert "not risen over 30 logged steps" in the_goal("grpo", metric, flat(0.4)).what
    assert the_goal("grpo", metric, flat(0.4, steps=29)).state == "unknown"
    assert the_goal("grpo", metric, flat(0.4, steps=4)).value == "few steps"


def test_the_loss_of_the_warm_up_and_of_the_ranked_stage() -> None:
    assert the_goal("sft", "train/loss", flat(9.3)).what.startswith("training loss 9.30")
    assert the_goal("sft", "train/loss", flat(1.4)).state == "met"
    low, falling = goals_of("ranked", {"train/loss": flat(4.331)}, bounds_in("ranked", {}))
    assert (low.state, falling.state) == ("missed", "missed")
    assert "the loss doesn't fall" in falling.what
    low, falling = goals_of("ranked", {"train/loss": slope(-0.3)}, bounds_in("ranked", {}))
    assert (low.state, falling.state) == ("met", "met")


def test_a_loss_that_is_no_mean_over_tokens_has_no_bound() -> None:
    for stage, settings in (("pretrain", {}), ("ranked", {"logp_reduction": "sum"})):
        (falling,) = goals_of(stage, {"train/loss": slope(-0.3)}, bounds_in(stage, settings))
        assert falling.healthy == "falling"


def test_bounds_are_keys_of_the_run() -> None:
    assert the_goal("grpo", "train/kl", flat(3.5), goal_kl_high=4.0).state == "met"
    assert the_goal("sft", "train/loss", flat(1.0), goal_loss=0.5).state == "missed"
    assert bounds_in("grpo", {"seed": 1}) == TeachingGoalsConfig()
    assert bounds_in("sft", {"goal_grad_norm": 2}) == LossGoalsConfig(goal_grad_norm=2.0)
    assert type(bounds_in("pretrain", {})) is GoalsConfig


def test_what_was_not_logged_is_no_goal() -> None:
    assert goals_of("grpo", {}, bounds_in("grpo", {})) == ()
    assert goals_of("collect", {"train/loss": flat(9.0)}, bounds_in("collect", {})) == ()


def test_lines_are_aligned_and_ticked() -> None:
    goals = goals_of(
        "sft", {"train/loss": flat(0.5), "train/grad_norm": flat(9.0)}, bounds_in("sft", {})
    )
    assert goal_lines(goals) == [
        "✓ loss, nats a token  0.5  (below 1.5)",
        "✗ gradient norm         9  (below 5)",
    ]


def test_a_number_is_of_the_last_steps_and_a_handful_shows_no_trend() -> None:
    curve = (*flat(0.9), *((float(30 + step), 0.1) for step in range(20)))
    assert tail_mean(curve) == pytest.approx(0.1)
    assert change(slope(-0.3)[:5]) == 0.0
    assert change(slope(-0.3)) == pytest.approx(-0.2)


def test_a_fall_within_the_noise_is_none() -> None:
    """The rewards of a good training of twelve steps, and the same fall without the jumps."""
    noisy = (0.59, 0.63, 0.62, 0.69, 0.25, 0.62, 0.85, 0.69, 0.41, 0.55, 0.43, 0.53)
    steady = (0.63, 0.63, 0.63, 0.63, 0.56, 0.56, 0.56, 0.56, 0.48, 0.48, 0.48, 0.48)
    states = {
        rewards: the_goal("grpo", "train/reward", tuple(enumerate(rewards, start=1))).state
        for rewards in (noisy, steady)
    }
    assert states == {noisy: "unknown", steady: "missed"}
