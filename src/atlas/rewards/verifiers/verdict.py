"""What every verifier returns, and how an answer is read from a text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from atlas.types import Task

# The last "Answer:" counts, on its line too: a text that corrects itself is read as it ends.
_ANSWER = re.compile(r"answer:[ \t]*((?:(?!answer:)[^\n])*)", re.IGNORECASE)
_MARKUP = " \t*_`$"
_LAST = re.compile(r".*answer:(.*)", re.IGNORECASE | re.DOTALL)
_FENCE = re.compile(r"```[ \t]*([\w+-]*)[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What a verifier says about one text."""

    score: float | None
    """0 to 1; 1 is right. None: the verifier could not tell, and ``reason`` says why."""
    parsed: bool
    """A final answer could be read."""
    reason: str = ""
    """Why it could not tell; or, for the log, why the answer is wrong."""

    @property
    def correct(self) -> bool:
        """True for full marks only; partial credit is not a right answer."""
        return self.score is not None and self.score >= 1.0


class Verifier(Protocol):
    """Scores the text that a student wrote for a task."""

    def __call__(self, task: Task, text: str) -> Verdict:
        """Return a verdict; an abstention where the task's own data can't be used."""
        ...


def read_answer(text: str) -> str | None:
    """Return what follows the last ``Answer:``, or None where there is none.

    Example:
        >>> read_answer("Answer: 6. No: A = 2 + 3 = 5. **Answer:** 5.")
        '5'
    """
    found = [answer.lstrip(_MARKUP).rstrip(_MARKUP + ".") for answer in _ANSWER.findall(text)]
    return next((answer for answer in reversed(found) if answer), None)


def read_block(text: str, *languages: str) -> str | None:
    r"""Return an answer of several lines: the last fenced block, else all after ``Answer:``.

    Args:
        text: What the student wrote.
        languages: A block marked as one of these is preferred to any other.

    Example:
        >>> read_block("I try.\n```python\nx = 1\n```\nDone.", "python")
        'x = 1\n'
    """
    blocks = [(match[1].casefold(), match[2]) for match in _FENCE.finditer(text)]
    marked = [body for language, body in blocks if language in languages]
    if blocks:
        return (marked or [body for _, body in blocks])[-1]
    after = _LAST.match(text)
    return after[1].strip() or None if after else None


def right_or_wrong(right: bool, reason: str = "") -> Verdict:
    """Return the verdict on an answer that could be read."""
    return Verdict(score=float(right), parsed=True, reason="" if right else reason)


def unread(reason: str = "no final answer") -> Verdict:
    """Return the verdict on a text without an answer: wrong."""
    return Verdict(score=0.0, parsed=False, reason=reason)


def cannot_tell(reason: str, *, parsed: bool = True) -> Verdict:
    """Return an abstention."""
    return Verdict(score=None, parsed=parsed, reason=reason)
