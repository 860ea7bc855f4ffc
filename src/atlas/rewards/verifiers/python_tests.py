"""The answer is Python that passes the task's unit tests, run in a jail (`atlas.rewards.sandbox`).

Settings in ``Task.metadata``: ``tests``, Python that sees the answer's names; ``entry``, the name
that ``check(candidate)`` gets; ``time_limit`` in seconds (10) and ``memory_mb`` (512). The score is
the share of tests that pass; only all of them are right. The answer is a text's last fenced block.
"""

from __future__ import annotations

from atlas.rewards.sandbox.run import Limits, run_tests
from atlas.rewards.verifiers.verdict import Verdict, cannot_tell
from atlas.types import Task

_LIMITS = {"time_limit": (10.0, 0.01, 3600.0), "memory_mb": (512, 64, 1 << 20)}
"""Default, lowest and highest."""


def python_verdict(task: Task, answer: str) -> Verdict:
    """Run the task's tests against the code that was answered.

    Raises:
        AtlasError: This system can't jail a process.
    """
    tests, entry = task.metadata.get("tests"), task.metadata.get("entry")
    if not isinstance(tests, str) or not tests.strip():
        return cannot_tell("the task has no tests")
    if not isinstance(entry, str | None):
        return cannot_tell("the task's entry isn't a name")
    given: dict[str, float] = {}
    for name, (default, lowest, highest) in _LIMITS.items():
        value = task.metadata.get(name)
        value = default if value is None else value
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not lowest <= value <= highest:
            return cannot_tell(f"the task's {name} isn't a number from {lowest} to {highest}")
        given[name] = value
    limits = Limits(seconds=float(given["time_limit"]), memory_mb=int(given["memory_mb"]))
    report = run_tests(answer, tests, entry=entry, limits=limits)
    if report.broken:
        return cannot_tell(report.broken)
    if report.total == 0:
        return cannot_tell("the task's tests check nothing")
    return Verdict(score=report.passed / report.total, parsed=True, reason=report.first)
