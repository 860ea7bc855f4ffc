"""Judges as a part of the reward: teachings -> what judges say about them.

A judge is anything with ``evaluate_batch`` whose results have ``to_score()``, as RIM's. It reads
the task as the prompt and the teaching as the response, and sees what the student said before and
after.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from atlas.rewards.composition import Scorer
from atlas.types import Lesson, Score


class Judgement(Protocol):
    """What judges say about one response."""

    def to_score(self) -> Score:
        """Return it as a score from 0 to 1 with a part for each judge, or as an abstention."""
        ...


class Judges(Protocol):
    """Judges of many responses, side by side."""

    def evaluate_batch(
        self,
        prompts: Sequence[str],
        responses: Sequence[str],
        contexts: Sequence[Mapping[str, str]] | None = None,
    ) -> Sequence[Judgement]:
        """Return one judgement a response, in their order."""
        ...


def judge_teachings(judges: Judges) -> Scorer:
    """Return a scorer that lets judges read teachings."""

    def scorer(lessons: Sequence[Lesson]) -> list[Score]:
        found = judges.evaluate_batch(
            [lesson.task.question for lesson in lessons],
            [lesson.teaching.text for lesson in lessons],
            [{"approach": one.approach.text, "attempt": one.attempt.text} for one in lessons],
        )
        return [judgement.to_score() for judgement in found]

    return scorer
