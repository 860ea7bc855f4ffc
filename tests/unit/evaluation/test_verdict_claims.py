"""Claims on verdicts, counted by hand."""

from __future__ import annotations

import pytest

from atlas.evaluation.claims import DEFINITIONS, measure_claims
from atlas.evaluation.verdict_claims import VERDICT_LABELS, verdict_rates
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
