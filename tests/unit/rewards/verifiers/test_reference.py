"""What says the same."""

from __future__ import annotations

import pytest

from atlas.rewards.verifiers import says_the_same, verify
from atlas.types import REFERENCE, Task


@pytest.mark.parametrize(
    ("answer", "reference", "same"),
    [
        ("Paris", " paris. ", True),
        ("the  red\nhouse", "The red house", True),
        ("Paris, France", "Paris", False),
        ("1,200", "1200.0", True),
        ("1,2", "12", False),
        ("14/4", "7 / 2", True),
        ("1/0", "2/0", False),
        (r"$\boxed{12}$", "12", True),
        ("12", "-12", False),
    ],
)
def test_answers_that_say_the_same(answer: str, reference: str, same: bool) -> None:
    assert says_the_same(answer, reference) is same
    assert says_the_same(reference, answer) is same


def test_a_task_of_no_family_is_held_against_its_reference() -> None:
    task = Task(question="How far?", answer="1200", family=REFERENCE)
    assert verify(task, "So. Answer: 1,200.").score == 1.0
    assert verify(task, "So. Answer: 1,200 m.").score == 0.0
    assert not verify(task, "It is 1200.").parsed
