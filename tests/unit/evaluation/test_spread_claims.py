"""How far a student's several attempts at one task lie apart."""

from __future__ import annotations

import pytest

from atlas.evaluation.claims import DEFINITIONS, claims_table
from atlas.evaluation.claims_file import claims_from_json, claims_to_json
from atlas.evaluation.spread_claims import SPREAD_LABELS, spreads
from atlas.types import Attempt, Lesson, Task, Verdict


def attempt(*right: bool) -> Attempt:
    each = [Attempt(verdict=Verdict(score=float(one), parsed=True), num_tokens=5) for one in right]
    return Attempt.together(each)


def lesson(number: int, alone: Attempt, taught: Attempt) -> Lesson:
    task = Task(question=str(number), answer="1", family="reference")
    return Lesson(task=task, alone=alone, attempt=taught, arm="sft")


SEVERAL = [
    lesson(0, attempt(True, False), attempt(True, True)),
    lesson(1, attempt(False, False), attempt(True, False)),
    lesson(2, attempt(True, False), attempt(True, True)),
    lesson(3, attempt(True, False), attempt(True, True)),
]


def test_spread_is_the_deviation_within_a_task() -> None:
    found = spreads(SEVERAL)
    assert list(found) == list(SPREAD_LABELS)
    alone, num = found["spread_alone"]
    assert alone is not None
    assert (alone.value, num) == (pytest.approx(50 * 3 / 4), 4)
    assert alone.low < alone.value < alone.high
    taught, _ = found["spread_taught"]
    assert taught is not None
    assert taught.value == pytest.approx(50 / 4)


def test_a_student_that_is_asked_once_has_none() -> None:
    assert spreads([lesson(0, attempt(True), attempt(False))]) == {}


def test_the_table_has_them_and_is_read_again() -> None:
    table = claims_table(SEVERAL)
    assert [one.name for one in table.arms["sft"]][len(DEFINITIONS) :] == list(SPREAD_LABELS)
    assert claims_from_json(claims_to_json(table)) == table
