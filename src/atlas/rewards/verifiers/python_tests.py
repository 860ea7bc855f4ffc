"""The answer is Python that passes the task's unit tests, run in a jail (`atlas.rewards.sandbox`).

Settings in ``Task.metadata``: ``tests``, Python that sees the answer's names; ``entry``, the name
that ``check(candidate)`` gets; ``time_limit`` in seconds (10) and ``memory_mb`` (512). The score is
the share of tests that pass; only all of them are right. The answer is a text's last fenced block.
"""

from __future__ import annotations

from atlas.rewards.sandbox.run import Limits, run_tests
from atlas.rewards.verifiers.verdict import Verdict, cannot_tell, read_block, unread
from atlas.types import Task


def python_verdict(task: Task, text: str) -> Verdict:
    """Run the task's tests against the code in a text.

    Raises:
        AtlasError: This system can't jail a process.
    """
    tests = task.metadata.get("tests")
    if not isinstance(tests, str) or not tests.strip():
        return cannot_tell("the task has no tests")
    code = read_block(text, "python", "py", "python3")
    if code is None:
        return unread("no code block")
    limits = Limits(
        seconds=float(task.metadata.get("time_limit", 10.0)),
        memory_mb=int(task.metadata.get("memory_mb", 512)),
    )
    report = run_tests(code, tests, entry=task.metadata.get("entry"), limits=limits)
    if report.broken:
        return cannot_tell(report.broken)
    if report.total == 0:
        return cannot_tell("the task's tests check nothing")
    return Verdict(score=report.passed / report.total, parsed=True, reason=report.first)
