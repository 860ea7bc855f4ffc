"""Is an answer right? Decided on the answer that a text ends with.

A family of reasoning-gym has its own scorer. Tasks of any other (`atlas.types.REFERENCE`, or a
label of the user's) are right where the answer says what the reference says: the same number, or
the same text but for case, blanks and marks around it.

Input: a `Task` and what the student wrote. Output: a `Verdict`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import reasoning_gym

from atlas.types import Completion, Outcome, Task

# The last "Answer:" counts, on its line too: a text that corrects itself is read as it ends.
_ANSWER = re.compile(r"answer:[ \t]*((?:(?!answer:)[^\n])*)", re.IGNORECASE)
_MARKUP = " \t*_`$"
_AROUND = " \t\n*_`$.,;:!\"'"
_BOXED = re.compile(r"\\boxed\{(.*)\}", re.DOTALL)
_GROUPS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?: ?/ ?\d+)?", re.ASCII)


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


def says_the_same(answer: str, reference: str) -> bool:
    """Tell whether two answers are one number, or one text but for case, blanks and marks.

    Example:
        >>> says_the_same("$1,200.0$", "1200"), says_the_same("7/2", "3.5"), says_the_same("a", "b")
        (True, True, False)
    """
    one, other = _bare(answer), _bare(reference)
    numbers = _number(one), _number(other)
    return one == other if None in numbers else numbers[0] == numbers[1]


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
    if family not in reasoning_gym.factory.DATASETS:
        return lambda answer, entry: float(says_the_same(answer, str(entry["answer"])))
    scorer: Any = reasoning_gym.get_score_answer_fn(family)
    return scorer


def _bare(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).replace("\u2212", "-").casefold()
    if boxed := _BOXED.fullmatch(text.strip(_AROUND)):
        text = boxed[1]
    return " ".join(text.strip(_AROUND).split())


def _number(text: str) -> Fraction | None:
    """Read a whole number, a decimal or a fraction; None where the text isn't one."""
    plain = _GROUPS.sub("", text)
    if not _NUMBER.fullmatch(plain):
        return None
    over, _, under = plain.replace(" ", "").partition("/")
    try:
        return Fraction(over) / Fraction(under or 1)
    except (ZeroDivisionError, ValueError):  # ValueError: more digits than Python reads
        return None
