"""Letter by letter."""

from __future__ import annotations

from typing import Any

import pytest

from atlas.rewards.verifiers.answers import bare
from atlas.rewards.verifiers.exact import exact_verdict
from atlas.types import Task


@pytest.mark.parametrize(
    ("answer", "settings", "score"),
    [
        ("Paris", {}, 1.0),
        ("**Paris**.", {}, 1.0),
        ("paris", {}, 0.0),
        ("paris", {"ignore_case": True}, 1.0),
        ("Lutetia", {"answers": ["Lutetia"]}, 1.0),
        ("Paris, France", {}, 0.0),
    ],
)
def test_verdicts(answer: str, settings: dict[str, Any], score: float) -> None:
    task = Task(question="?", answer="Paris", family="exact", metadata=settings)
    assert exact_verdict(task, answer).score == score


def test_marks_around_the_reference_are_no_letters_of_it() -> None:
    for reference in ("U.S.", "__init__", "$5", "*.py"):
        task = Task(question="?", answer=reference, family="exact")
        assert exact_verdict(task, bare(reference)).correct
    assert exact_verdict(Task(question="?", answer="e\u0301", family="exact"), "\u00e9").correct


def test_answers_that_are_no_list_say_nothing_about_the_answer() -> None:
    task = Task(question="?", answer="Paris", family="exact", metadata={"answers": "Lutetia"})
    assert exact_verdict(task, "Paris").score is None
