"""Does an answer match a reference? The verifier of tasks that bring none of their own.

Input: the reference and what the student answered. Output: yes or no. Two numbers match where
their values are equal, however they are written; anything else where the words are equal but for
case, blanks and the marks around them.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_CURRENCY = re.compile(r"^([-+]?)\s*[$€£]\s*")
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d{1,3})?(?:\s*/\s*\d+(?:\.\d+)?)?")
_AROUND = " \t\"'`*_.,;:!()[]{}"


def matches(reference: str, answer: str) -> bool:
    """Tell whether an answer is the reference.

    Example:
        >>> matches("1000", "$1,000.00"), matches("Paris", "paris."), matches("14", "14 legs")
        (True, True, False)
    """
    wanted, given = _normalise(reference), _normalise(answer)
    numbers = _number(wanted), _number(given)
    if None not in numbers:
        return numbers[0] == numbers[1]
    bare = wanted.strip(_AROUND), given.strip(_AROUND)
    # Of a reference that is nothing but marks, the marks are the answer.
    return bare[0] == bare[1] if bare[0] else wanted == given


def _normalise(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).replace("\u2212", "-").casefold()
    return " ".join(text.split())


def _number(text: str) -> Fraction | None:
    """Read a number exactly: 0.5, .5, 5e-1 and 1/2 are one value."""
    plain = _CURRENCY.sub(r"\1", _THOUSANDS.sub("", text))
    if not _NUMBER.fullmatch(plain):
        return None
    above, _, below = plain.partition("/")
    try:
        return Fraction(above.strip()) / Fraction(below.strip() or 1)
    except ZeroDivisionError:
        return None
