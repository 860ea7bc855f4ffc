"""What is wrong with a run, from curves made up for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from benchmarks.doctor import CASES, found, recorded

from atlas.run.diagnosis import GRPO_RULES, RULES, SFT_RULES, Rule, diagnose
from atlas.run.goals import Curve

HEALTHY = {
    "train/abstained_share": 0.0,
    "train/unfinished_thoughts": 0.02,
    "train/attempt_unfinished_thoughts": 0.02,
    "train/approach_unfinished_thoughts": 0.02,
    "train/truncated_share": 0.02,
    "train/attempt_truncated_share": 0.02,
    "train/dead_groups": 0.3,
    "train/dead_groups_equal": 0.3,
    "train/leak_rate": 0.01,
    "train/mismatch_kl": 0.0001,
    "train/kl": 1.2,
    "train/grad_norm": 1.0,
    "train/non_degrade_rate": 0.98,
    "train/entropy": 0.5,
    "train/loss": 0.9,
    "eval/loss": 0.9,
}
SICK = {
    "train/abstained_share": 0.5,
    "train/unfinished_thoughts": 0.6,
    "train/attempt_unfinished_thoughts": 0.6,
    "train/approach_unfinished_thoughts": 0.6,
    "train/truncated_share": 0.6,
    "train/attempt_truncated_share": 0.6,
    "train/dead_groups": 0.9,
    "train/dead_groups_equal": 0.9,
    "train/kl": 80.0,
    "train/leak_rate": 0.3,
    "train/mismatch_kl": 0.1,
    "train/entropy": 0.001,
}
FALLING = tuple((float(step), 0.5 - 0.01 * step) for step in range(30))
RISING = tuple((float(step), 0.5 + 0.01 * step) for step in range(30))


def flat(value: float, steps: int = 30) -> Curve:
    return tuple((float(step), value) for step in range(steps))


@pytest.mark.parametrize("stage", RULES)
def test_nothing_is_said_of_a_healthy_run(stage: str) -> None:
    assert diagnose(stage, {name: flat(value) for name, value in HEALTHY.items()}) == ()
    assert diagnose(stage, {}) == ()


@pytest.mark.parametrize("rule", [*GRPO_RULES, *SFT_RULES], ids=lambda rule: rule.metric)
def test_each_rule_finds_its_fault_and_nothing_else(rule: Rule) -> None:
    stage = "grpo" if rule in GRPO_RULES else "sft"
    curves = {name: flat(value) for name, value in HEALTHY.items()}
    curves[rule.metric] = RISING if rule.metric == "eval/loss" else flat(SICK[rule.metric])
    (finding,) = diagnose(stage, curves)
    assert finding.advice == rule.advice
    assert finding.what not in ("", rule.what)


def test_dead_groups_are_named_before_a_reward_that_falls() -> None:
    """The guide raises beta for rewards at zero; where groups are dead that can't help."""
    curves = {"train/reward": FALLING, "train/dead_groups": flat(0.95)}
    first, second = diagnose("grpo", curves)
    assert "95% of the groups are dead" in first.what
    assert "reward falls" in second.what


def test_groups_that_are_dead_because_all_was_right_are_no_illness() -> None:
    curves = {"train/dead_groups": flat(0.9), "train/dead_groups_right": flat(0.8)}
    assert diagnose("grpo", curves) == ()
    (found,) = diagnose("grpo", {**curves, "train/dead_groups_right": flat(0.2)})
    assert "70% of the groups are dead" in found.what


def test_of_few_groups_that_are_not_right_those_with_equal_rewards_are_told() -> None:
    curves = {"train/dead_groups": flat(0.99), "train/dead_groups_right": flat(0.8)}
    (found,) = diagnose("grpo", {**curves, "train/dead_groups_equal": flat(0.99)})
    assert "of the groups that aren't all right, 95% have equal rewards" in found.what
    assert diagnose("grpo", {**curves, "train/dead_groups_equal": flat(0.9)}) == ()


def test_where_nothing_is_left_of_the_first_model_that_is_the_cause() -> None:
    curves = {"train/dead_groups": flat(0.9), "train/kl": flat(80.0)}
    first, second = diagnose("grpo", curves)
    assert "KL 80 a teaching" in first.what
    assert second.rule == "train/dead_groups"


def test_a_perfect_run_is_well() -> None:
    """All is right from the first step: nothing moves any more, and nothing has to."""
    curves = {
        "train/accuracy_taught": flat(1.0),
        "train/dead_groups": flat(1.0),
        "train/entropy": flat(0.001),
        "train/kl": flat(0.0),
        "train/reward": flat(0.6),
    }
    assert diagnose("grpo", curves) == ()
    assert len(diagnose("grpo", {**curves, "train/accuracy_taught": flat(0.3)})) == 4


def test_only_the_last_steps_count() -> None:
    curve = (*flat(0.9), *((float(30 + step), 0.1) for step in range(20)))
    assert diagnose("grpo", {"train/dead_groups": curve}) == ()


@pytest.mark.parametrize("row", list(recorded()), ids=lambda row: row["name"])
def test_real_trainings_are_told_as_what_they_are(row: Mapping[str, Any]) -> None:
    (case,) = (case for case in CASES if case.name == row["name"])
    rules = found(row, case)
    if case.fault:
        assert rules[0] in case.finding
    else:
        assert rules == list(case.finding)


def test_the_page_says_of_how_many() -> None:
    cases = [case for row in recorded() for case in CASES if case.name == row["name"]]
    good = [case for case in cases if not case.fault]
    well = [case for case in good if not case.finding]
    page = Path(__file__).resolve().parents[3] / "docs" / "troubleshooting.md"
    said = (
        f"in {len(well)} of {len(good)} good ones nothing is found",
        f"in {len(cases) - len(good)} with a fault",
    )
    text = " ".join(page.read_text(encoding="utf-8").split())
    assert [one for one in said if one not in text] == []
