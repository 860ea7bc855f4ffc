"""Judges as a part of the reward: teachings -> what judges say about them.

A judge is anything with ``evaluate_batch`` whose results have ``to_score()``, as RIM's. It reads
the task as the prompt and the teaching as the response, and sees what the student said before and
after.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from atlas.rewards.exchange import Exchange, TeachingScorer
from atlas.types import Score


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


def judge_teachings(judges: Judges) -> TeachingScorer:
    """Return a scorer that lets judges read teachings."""

    def scorer(exchanges: Sequence[Exchange]) -> list[Score]:
        found = judges.evaluate_batch(
            [exchange.task.question for exchange in exchanges],
            [exchange.teaching for exchange in exchanges],
            [{"approach": one.approach, "attempt": one.attempt} for one in exchanges],
        )
        return [judgement.to_score() for judgement in found]

    return scorer
