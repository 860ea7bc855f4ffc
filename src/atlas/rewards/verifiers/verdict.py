"""What every verifier is, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from atlas.types import Task, Verdict

Verifier = Callable[[Sequence[Task], Sequence[str]], list[Verdict]]
"""Scores the final answers that a student gave, one a task; abstains where a task's own data can't
be used."""


def right_or_wrong(right: bool, reason: str = "") -> Verdict:
    """Return the verdict on an answer that could be read."""
    return Verdict(score=float(right), parsed=True, reason="" if right else reason)


def unread(reason: str = "no final answer") -> Verdict:
    """Return the verdict on a text without an answer: wrong."""
    return Verdict(score=0.0, parsed=False, reason=reason)


def cannot_tell(reason: str, *, parsed: bool = True) -> Verdict:
    """Return an abstention."""
    return Verdict(score=None, parsed=parsed, reason=reason)
