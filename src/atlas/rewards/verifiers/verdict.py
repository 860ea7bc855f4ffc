"""What every verifier returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from atlas.types import Task


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What a verifier says about one text."""

    score: float | None
    """0 to 1; 1 is right. None: the verifier could not tell, and ``reason`` says why."""
    parsed: bool
    """A final answer could be read."""
    reason: str = ""
    """Why it could not tell; or, for the log, why the answer is wrong."""
    rule: str = ""
    """By which the answer was read (`atlas.rewards.verifiers.answers`); empty for none."""

    @property
    def correct(self) -> bool:
        """True for full marks only; partial credit is not a right answer."""
        return self.score is not None and self.score >= 1.0


class Verifier(Protocol):
    """Scores the final answer that a student gave to a task."""

    def __call__(self, task: Task, answer: str) -> Verdict:
        """Return a verdict; an abstention where the task's own data can't be used."""
        ...


def right_or_wrong(right: bool, reason: str = "") -> Verdict:
    """Return the verdict on an answer that could be read."""
    return Verdict(score=float(right), parsed=True, reason="" if right else reason)


def unread(reason: str = "no final answer") -> Verdict:
    """Return the verdict on a text without an answer: wrong."""
    return Verdict(score=0.0, parsed=False, reason=reason)


def cannot_tell(reason: str, *, parsed: bool = True) -> Verdict:
    """Return an abstention."""
    return Verdict(score=None, parsed=parsed, reason=reason)
