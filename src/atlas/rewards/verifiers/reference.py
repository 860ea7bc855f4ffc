"""The answer says what the reference says: the same number, or the same text but for its dress.

Case, blanks and the marks around a text are its dress. For tasks of no family of their own.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

from atlas.rewards.verifiers.verdict import Verdict, read_answer, right_or_wrong, unread
from atlas.types import Task

_AROUND = " \t\n*_`$.,;:!\"'"
_BOXED = re.compile(r"\\boxed\{(.*)\}", re.DOTALL)
_GROUPS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?: ?/ ?\d+)?", re.ASCII)


def reference_verdict(task: Task, text: str) -> Verdict:
    """Hold the answer against the task's reference."""
    answer = read_answer(text)
    if answer is None:
        return unread()
    return right_or_wrong(says_the_same(answer, task.answer))


def says_the_same(answer: str, reference: str) -> bool:
    """Tell whether two answers are one number, or one text but for case, blanks and marks.

    Example:
        >>> says_the_same("$1,200.0$", "1200"), says_the_same("7/2", "3.5"), says_the_same("a", "b")
        (True, True, False)
    """
    one, other = _bare(answer), _bare(reference)
    numbers = _number(one), _number(other)
    return one == other if None in numbers else numbers[0] == numbers[1]


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
