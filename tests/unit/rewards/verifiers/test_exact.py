"""Letter by letter."""

from __future__ import annotations

from typing import Any

import pytest

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
    assert exact_verdict(task, f"Answer: {answer}").score == score


def test_without_an_answer() -> None:
    assert not exact_verdict(Task(question="?", answer="Paris", family="exact"), "Paris").parsed
