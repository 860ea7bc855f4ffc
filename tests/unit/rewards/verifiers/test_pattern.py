"""Regular expressions, those included that take for ever."""

from __future__ import annotations

import time
from typing import Any

import pytest

from atlas.rewards.verifiers.pattern import regex_verdict
from atlas.rewards.verifiers.verdict import Verdict
from atlas.types import Task


def verdict(reference: str, answer: str, **settings: Any) -> Verdict:
    task = Task(question="?", answer=reference, family="regex", metadata=settings)
    return regex_verdict(task, answer)


@pytest.mark.parametrize(
    ("pattern", "answer", "score"),
    [
        (r"\d{4}-\d{2}-\d{2}", "2024-05-01", 1.0),
        (r"\d{4}-\d{2}-\d{2}", "on 2024-05-01", 0.0),
        ("yes|no", "no", 1.0),
        ("yes|no", "no, yes", 0.0),
        ("Paris", "paris", 0.0),
    ],
)
def test_the_whole_answer_must_match(pattern: str, answer: str, score: float) -> None:
    assert verdict(pattern, answer).score == score


def test_settings() -> None:
    assert verdict("Paris", "paris", ignore_case=True).correct
    assert verdict("a reference to be shown", "b", pattern="b").correct


def test_a_catastrophic_pattern_is_stopped_and_says_nothing_about_the_answer() -> None:
    started = time.monotonic()
    found = verdict(r"(a|a|aa)+$b", "a" * 60)
    assert found.score is None
    assert "took more than 1 s" in found.reason
    assert time.monotonic() - started < 30


def test_what_is_no_pattern_says_nothing_about_the_answer() -> None:
    assert verdict("(", "(").score is None


def test_an_endless_answer_is_wrong() -> None:
    assert verdict("a+", "a" * 20_000).score == 0.0
