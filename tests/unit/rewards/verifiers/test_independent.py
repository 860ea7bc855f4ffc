"""A second opinion."""

from __future__ import annotations

import pytest

from atlas.rewards.verifiers import verify_all
from atlas.rewards.verifiers.independent import independent_verifier
from atlas.types import Task


@pytest.mark.parametrize(
    ("family", "reference", "answer", "right"),
    [
        ("chain_sum", "5", "5", True),
        ("chain_sum", "5", "6", False),
        ("math", "1/2", "0.5", True),
        ("numeric", "60 mph", "60 mph", True),
        ("reference", "1,200", "1200 m", True),  # numeric looks past the unit
        ("reference", "Paris", "paris", False),  # exact is stricter
        ("exact", "Paris", "paris", True),
        ("regex", "a+", "aaa", True),
    ],
)
def test_another_verifier_is_asked(family: str, reference: str, answer: str, right: bool) -> None:
    task = Task(question="?", answer=reference, family=family)
    assert (
        verify_all([task], [f"Answer: {answer}"], name_of=independent_verifier)[0].correct is right
    )
