"""The doctor beside a training, from lines made up for it."""

from __future__ import annotations

import json
from pathlib import Path

from atlas.run.goals import bounds_in
from atlas.run.health import FIRST, Health

CUT = {"train/truncated_share": 0.9}


def health(stage: str = "grpo", **settings: object) -> Health:
    return Health(stage, bounds_in(stage, settings))


def rules(watched: Health, **figures: float) -> list[str]:
    """Return what is found after as many equal lines as it takes, and one more."""
    for step in range(1, FIRST + 2):
        watched.take(step, {name.replace("__", "/"): value for name, value in figures.items()})
    return [finding.rule for finding in watched.findings()]


def test_nothing_is_said_of_the_first_lines_though_a_step_has_two() -> None:
    watched = health()
    for step in range(1, FIRST):
        watched.take(step, CUT)
        watched.take(step, {"eval/loss": 1.0})
        assert watched.findings() == ()
    watched.take(FIRST, CUT)
    (found,) = watched.findings()
    assert found.what == "90% of the teachings were cut at max_new_tokens"


def test_what_may_yet_come_right_is_not_told() -> None:
    assert rules(health(), train__kl=0.1) == []
    assert rules(health(), train__kl=7.0) == ["train/kl"]
    assert rules(health(), train__non_degrade_rate=0.92) == []
    assert rules(health(), train__non_degrade_rate=0.7) == ["train/non_degrade_rate"]
    assert rules(health("sft"), train__loss=9.0, train__grad_norm=9.0) == ["train/grad_norm"]
    assert rules(health(goal_plateau_steps=6), train__reward=0.3) == []


def test_its_bounds_and_what_to_do_are_the_runs() -> None:
    watched = health("sft", goal_grad_norm=20.0, on_unhealthy="pause")
    assert watched.action == "pause"
    assert rules(watched, train__grad_norm=9.0) == []


def test_a_run_that_goes_on_is_judged_by_its_own_earlier_lines(tmp_path: Path) -> None:
    lines = [
        {"step": step, "stage": stage, "chain": "0", "train/grad_norm": norm}
        for stage, norm in (("pretrain", 0.1), ("ranked", 9.0))
        for step in range(1, FIRST)
    ]
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    watched = health("ranked")
    watched.go_on(metrics)
    assert watched.findings() == ()
    watched.take(FIRST, {"train/grad_norm": 9.0})
    assert [found.rule for found in watched.findings()] == ["train/grad_norm"]
