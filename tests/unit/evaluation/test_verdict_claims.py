"""Claims on verdicts, counted by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from atlas.evaluation.claims import DEFINITIONS, claims_table, measure_claims
from atlas.evaluation.claims_file import claims_from_json, claims_to_json
from atlas.evaluation.verdict_claims import VERDICT_LABELS, verdict_gain, verdict_rates
from atlas.types import Attempt, Lesson, Review, Task, Verdict


def attempt(score: float | None, tokens: int = 10) -> Attempt:
    return Attempt(num_tokens=tokens, verdict=Verdict(score=score, parsed=True, reason="?"))


def lesson(number: int, score: float | None, *, certified: bool, readable: bool = True) -> Lesson:
    first = attempt(score)
    again = not certified
    review = Review(attempt=first, certified=certified, readable=readable, tried_again=again)
    return Lesson(
        task=Task(question=f"{number}?", answer="1", family="f"),
        alone=first,
        reviews=(review,),
        attempt=attempt(1.0, tokens=4) if again else first,
        arm="a",
    )


LESSONS = [
    *(lesson(n, 1.0, certified=True) for n in range(6)),
    *(lesson(n, 0.0, certified=True) for n in range(6, 8)),
    *(lesson(n, 1.0, certified=False) for n in range(8, 11)),
    *(lesson(n, 0.0, certified=False, readable=n > 11) for n in range(11, 20)),
]


def test_each_is_the_share_that_its_label_says() -> None:
    found = verdict_rates([*LESSONS, lesson(20, None, certified=True)])
    values = {name: (interval and interval.value, num) for name, (interval, num) in found.items()}
    assert values == {
        "verdict_accuracy": (pytest.approx(100 * 15 / 20), 20),
        "certify_precision": (pytest.approx(100 * 6 / 8), 8),
        "certify_recall": (pytest.approx(100 * 6 / 9), 9),
        "certified_share": (pytest.approx(100 * 9 / 21), 21),
        "verdict_unreadable": (pytest.approx(100 * 1 / 21), 21),
    }
    assert list(found) == list(VERDICT_LABELS)


def test_nobody_certified_has_no_precision() -> None:
    assert verdict_rates([lesson(0, 0.0, certified=False)])["certify_precision"] == (None, 0)
    assert verdict_rates([Lesson(task=Task(question="?", answer="", family=""))]) == {}


def test_they_stand_behind_the_other_claims_and_all_attempts_cost() -> None:
    claims = measure_claims(LESSONS)
    assert [claim.name for claim in claims] == [*DEFINITIONS, *VERDICT_LABELS]
    saved = {claim.name: claim.value for claim in claims}["student_tokens_saved"]
    # 8 stand with 10 tokens, 12 take 4 more: 248 in place of 200.
    assert saved == pytest.approx(-24.0)


def test_two_teachers_verdicts_are_held_against_each_other_task_by_task() -> None:
    better = [
        replace(lesson(n, 1.0 if n < 11 else 0.0, certified=n < 11), arm="b") for n in range(20)
    ]
    table = claims_table([*LESSONS, *better])
    [comparison] = table.comparisons
    gained = comparison.verdicts
    assert gained is not None
    # Five verdicts of twenty were false; no task got worse.
    assert gained.value == pytest.approx(25.0)
    assert 0 < gained.low < 25 < gained.high
    assert claims_from_json(json.loads(json.dumps(claims_to_json(table)))) == table


def test_without_two_verdicts_that_can_be_told_nothing_is_gained() -> None:
    plan = Lesson(task=Task(question="?", answer="", family=""))
    untold = lesson(0, None, certified=True)
    assert verdict_gain([(plan, LESSONS[0]), (untold, LESSONS[0])]) is None
