"""The answer says what the reference says: the same number, or the same text but for its dress.

Case, blanks and the marks around a text are its dress. For tasks of no family of their own.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

from atlas.rewards.verifiers.answers import bare
from atlas.rewards.verifiers.verdict import Verdict, right_or_wrong
from atlas.types import Task

_NUMBER = re.compile(
    r"[$€£¥]?(?P<sign>[+-]?)[$€£¥]?"
    r"(?P<over>\d+(?:\.\d*)?|[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?|\.\d+)(?: ?/ ?(?P<under>\d+))?",
    re.ASCII,
)
_SPOKEN = re.compile(r"(?<=[^\W\d_]{2})[!?,;:]+$|^[!?,;:]+(?=\w)")
_QUOTED = re.compile(r"([\"'])(.*)\1|[“„«](.*)[”“»]", re.DOTALL)
_KEPT = ("<super>", "<sub>", "<fraction>")


def reference_verdict(task: Task, answer: str) -> Verdict:
    """Hold the answer against the task's reference."""
    return right_or_wrong(says_the_same(answer, task.answer))


def says_the_same(answer: str, reference: str) -> bool:
    """Tell whether two answers are one number, or one text but for case, blanks and marks.

    Example:
        >>> says_the_same("$1,200.0$", "1200"), says_the_same("7/2", "3.5")
        (True, True)
        >>> says_the_same("3!", "3"), says_the_same("2²", "22")
        (False, False)
    """
    one, other = _undressed(answer), _undressed(reference)
    numbers = _number(one), _number(other)
    return one == other if None in numbers else numbers[0] == numbers[1]


def plain_letters(text: str) -> str:
    """Bring letters, digits and signs of other widths and styles to the usual ones.

    Powers, indices and fractions of one sign stay: 2² is not 22.
    """
    text = re.sub("[\u2010-\u2015\u2212]", "-", text)
    return "".join(
        one
        if unicodedata.decomposition(one).startswith(_KEPT)
        else unicodedata.normalize("NFKC", one)
        for one in unicodedata.normalize("NFC", text)
    ).replace("\ufe63", "-")


def _undressed(text: str) -> str:
    before = None
    while text != before:
        before = text
        text = _SPOKEN.sub("", bare(text).rstrip(" ,;:"))
        if quoted := _QUOTED.fullmatch(text):
            text = quoted[2] or quoted[3] or ""
    return " ".join(plain_letters(text).casefold().split())


def _number(text: str) -> Fraction | None:
    """Read a whole number, a decimal or a fraction; None where the text isn't one."""
    match = _NUMBER.fullmatch(text)
    if not match:
        return None
    try:
        value = Fraction(match["sign"] + match["over"].replace(",", "")) / int(match["under"] or 1)
    except (ZeroDivisionError, ValueError):  # ValueError: more digits than Python reads
        return None
    return value
