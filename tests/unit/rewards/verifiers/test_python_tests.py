"""Code in a text, its tests in the task."""

from __future__ import annotations

from typing import Any

import pytest

from atlas.rewards.verifiers import verify
from atlas.rewards.verifiers.verdict import Verdict
from atlas.types import Task

TESTS = "def test_a(): assert double(2) == 4\ndef test_b(): assert double(0) == 0"


def verdict(text: str, **settings: Any) -> Verdict:
    metadata = {"tests": TESTS, "time_limit": 5.0, **settings}
    return verify(Task(question="?", answer="", family="python_tests", metadata=metadata), text)


def test_the_last_block_is_run() -> None:
    wrong, right = (f"```python\ndef double(x): return x {op} 2\n```\n" for op in "+*")
    assert verdict(f"First {wrong} no: {right} Good.").correct
    assert verdict(f"First {right} no: {wrong}").score == 0.5
    assert verdict(f"{right}```\n4\n```").correct  # a block that says it is Python counts more


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"tests": ""}, "the task has no tests"),
        ({"tests": "x = 1"}, "the task's tests check nothing"),
        ({"tests": "assert ("}, "the tests can't be read"),
    ],
)
def test_tests_that_say_nothing(settings: dict[str, Any], reason: str) -> None:
    found = verdict("```python\ndef double(x): return 2 * x\n```", **settings)
    assert found.score is None
    assert found.reason.startswith(reason)


@pytest.mark.parametrize(
    "settings",
    [
        *({"time_limit": value} for value in ("abc", [1], float("inf"), 1e300, -1, True)),
        *({"memory_mb": value} for value in ("x", 2**60, -5, 0, float("nan"))),
        {"entry": 5},
    ],
)
def test_limits_that_are_no_numbers_say_nothing_about_the_answer(settings: dict[str, Any]) -> None:
    assert verdict("```python\ndef double(x): return 2 * x\n```", **settings).score is None


def test_limits_that_are_null_are_the_usual_ones() -> None:
    code = "```python\ndef double(x): return 2 * x\n```"
    assert verdict(code, time_limit=None, memory_mb=None).correct


def test_without_code() -> None:
    assert not verdict("I can't.").parsed
    assert not verdict("```python\nimport\n```").correct
