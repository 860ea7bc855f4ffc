"""What was said about one task, as everything that scores a teaching is given it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from atlas.types import Score, Task


@dataclass(frozen=True, kw_only=True, slots=True)
class Exchange:
    """One teaching, with what led to it and what came of it.

    Example: a teaching that the student turned into a right answer, in group 0:
        >>> from atlas.types import Task
        >>> task = Task(question="Calculate 2 + 3.", answer="5", family="chain_sum")
        >>> exchange = Exchange(group=0, task=task, baseline="Answer: 6", approach="Add.",
        ...                     teaching="A = 2 + 3. Answer A.", attempt="Answer: 5",
        ...                     right=True, leaked=False)
    """

    group: int
    """Index of the group; its members share task, baseline and approach."""
    task: Task
    baseline: str
    approach: str
    teaching: str
    attempt: str
    right: bool
    """The attempt is right, by the verifier."""
    leaked: bool
    """The teaching gives the answer away."""


class TeachingScorer(Protocol):
    """Scores teachings; all of a step at once, so that it may work on many side by side."""

    def __call__(self, exchanges: Sequence[Exchange]) -> Sequence[Score]:
        """Return one score each, in their order; an abstention where it can't tell."""
        ...
