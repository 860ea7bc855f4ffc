from __future__ import annotations

from collections import Counter

import pytest

from atlas.endpoint.budget import Usage
from atlas.endpoint.tally import Tally
from atlas.rewards.judges.ensemble import JudgeResult
from atlas.rewards.judges.rim_result import RIMResult, SinceLastReport, rim_report, weighted_score

GOOD = JudgeResult(score=0.9, explanation="Good.")
POOR = JudgeResult(score=0.3, explanation="Poor.", escalated=True)
SILENT = JudgeResult(score=None, explanation="no sample gave a verdict")


def test_the_score_is_the_weighted_mean() -> None:
    assert weighted_score([GOOD, POOR], [2, 1]) == pytest.approx(0.7)


def test_who_was_judged_by_fewer_judges_has_no_score() -> None:
    assert weighted_score([GOOD, SILENT], [2, 1]) is None


def test_a_result_as_a_score() -> None:
    score = RIMResult(score=None, judges={"process": GOOD, "accuracy": SILENT}).to_score()
    assert score.abstained
    assert score.parts == {"process": 0.9, "escalated": 0.0}
    assert score.reason == "accuracy: no sample gave a verdict"


def test_a_report_counts_what_happened_since_the_last() -> None:
    results = [
        RIMResult(score=0.6, judges={"process": GOOD, "accuracy": POOR}),
        RIMResult(score=None, judges={"process": POOR, "accuracy": SILENT}),
    ]
    before = SinceLastReport(
        results=results,
        tally=Tally(
            usage=Usage(calls=10, retries=1, input_tokens=1000, output_tokens=100, cost=1.0),
            outcomes=Counter(answered=10, timeout=1),
        ),
    )
    report = rim_report(
        before,
        Tally(
            usage=Usage(calls=30, retries=4, input_tokens=4000, output_tokens=500, cost=1.5),
            outcomes=Counter(answered=25, timeout=4, refused=2, cached=7),
        ),
    )
    assert report.metrics == pytest.approx(
        {
            "rim_rewards": 0.6,
            "rim_rewards/process": 0.6,
            "rim_rewards/accuracy": 0.3,
            "escalation_rate": 0.5,
            "rim_abstention_rate": 0.5,
            "judges/abstention_rate": 0.25,
            "judges/abstained/timeout": 3,
            "judges/abstained/refused": 2,
            "judges/cached": 7,
            "judges/calls": 20,
            "judges/retries": 3,
            "judges/input_tokens": 3000,
            "judges/output_tokens": 400,
            "judges/cost": 0.5,
            "judges/cost_total": 1.5,
        }
    )
    assert report.rim_explanations[0] == {"process": "Good.", "accuracy": "Poor."}


def test_a_report_on_nothing_has_no_means() -> None:
    metrics = rim_report(SinceLastReport(), Tally()).metrics
    assert not [name for name in metrics if name.startswith(("rim", "escalation"))]
