"""reasoning-gym's own scorers, on the answer that a text ends with; the family is the data set."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from atlas.rewards.verifiers.verdict import Verdict, read_answer
from atlas.types import Task


def reasoning_verdict(task: Task, text: str) -> Verdict:
    """Score a text with the scorer of the task's family."""
    answer = read_answer(text)
    if answer is None:
        return Verdict(score=0.0, parsed=False)
    entry = {"question": task.question, "answer": task.answer, "metadata": dict(task.metadata)}
    return Verdict(score=float(_scorer(task.family)(answer, entry)), parsed=True)


def has_scorer(family: str) -> bool:
    """Tell whether reasoning-gym has a data set of this name."""
    import reasoning_gym  # noqa: PLC0415 - slow to import

    return family in reasoning_gym.factory.DATASETS


@cache
def _scorer(family: str) -> Callable[[str, dict[str, object]], float]:
    import reasoning_gym  # noqa: PLC0415 - slow to import

    scorer: Any = reasoning_gym.get_score_answer_fn(family)
    return scorer
