"""Is an answer right? Decided on the answer that a text ends with.

Input: a `Task` and what the student wrote. Output: a `Verdict`. A family of reasoning-gym has its
own scorer there. Any other family is a label of the user's: `matches` decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import reasoning_gym

from atlas.rewards.matching import matches
from atlas.types import Completion, Outcome, Task

# The last "Answer:" counts, on its line too: a text that corrects itself is read as it ends.
_ANSWER = re.compile(r"answer:[ \t]*((?:(?!answer:)[^\n])*)", re.IGNORECASE)
_MARKUP = " \t*_`$"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What a verifier says about one text."""

    score: float
    """0 to 1; 1 is right."""
    parsed: bool
    """A final answer could be read."""

    @property
    def correct(self) -> bool:
        """True for full marks only; partial credit is not a right answer."""
        return self.score >= 1.0


def read_answer(text: str) -> str | None:
    """Return what follows the last ``Answer:``, or None where there is none.

    Example:
        >>> read_answer("Answer: 6. No: A = 2 + 3 = 5. **Answer:** 5.")
        '5'
    """
    found = [answer.lstrip(_MARKUP).rstrip(_MARKUP + ".") for answer in _ANSWER.findall(text)]
    return next((answer for answer in reversed(found) if answer), None)


def verify(task: Task, text: str) -> Verdict:
    """Score a text with the verifier of the task's family."""
    answer = read_answer(text)
    if answer is None:
        return Verdict(score=0.0, parsed=False)
    if task.family not in reasoning_gym.factory.DATASETS:
        return Verdict(score=float(matches(task.answer, answer)), parsed=True)
    entry = {"question": task.question, "answer": task.answer, "metadata": dict(task.metadata)}
    return Verdict(score=float(_scorer(task.family)(answer, entry)), parsed=True)


def accepts_reference(task: Task) -> str | None:
    """Return why the verifier does not take the task's own answer for right; None where it does.

    Such a task can't be solved: its answer is wrong, or its verifier needs metadata that isn't
    there.
    """
    try:
        right = verify(task, f"Answer: {task.answer}").correct
    except Exception as error:  # a foreign scorer may raise anything
        return f"the verifier of family '{task.family}' fails: {type(error).__name__}: {error}"
    return None if right else f"the verifier of family '{task.family}' refuses its own answer"


def outcome(task: Task, completion: Completion) -> Outcome:
    """Return how one completion turned out."""
    verdict = verify(task, completion.text)
    return Outcome(
        text=completion.text,
        correct=verdict.correct,
        num_tokens=completion.num_tokens,
        finished=completion.finish_reason == "stop",
        parsed=verdict.parsed,
    )


@cache
def _scorer(family: str) -> Callable[[str, dict[str, object]], float]:
    scorer: Any = reasoning_gym.get_score_answer_fn(family)
    return scorer
