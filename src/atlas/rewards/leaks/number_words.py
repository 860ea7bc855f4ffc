"""Numbers in English words to digits, inside a text.

Input: a text in lower case. Output: the same with ``forty-five`` as ``45``, ``minus four`` as
``- 4``, ``one hundred and twenty three`` as ``123``. Words that are no one number stay two numbers:
``two and three`` is ``2 and 3``.
"""

from __future__ import annotations

import re

_DIGITS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TEENS = (
    *("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen"),
    *("seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_VALUES = {
    "zero": 0,
    **{word: 1 + i for i, word in enumerate(_DIGITS)},
    **{word: 10 + i for i, word in enumerate(_TEENS)},
    **{word: 20 + 10 * i for i, word in enumerate(_TENS)},
}
_BELOW_100 = (
    rf"(?:(?:{'|'.join(_TENS)})(?:[\s-]+(?:{'|'.join(_DIGITS)})\b)?"
    rf"|{'|'.join([*_TEENS, *_DIGITS])}|zero)\b"
)
_REST = rf"(?:[\s-]+(?:and\s+)?{_BELOW_100})?"
_BELOW_1000 = rf"(?:(?:{_BELOW_100}|a\b)[\s-]+hundred\b{_REST}|{_BELOW_100})"
_NUMBER = re.compile(
    rf"\b(?:(?:{_BELOW_1000}|a\b)[\s-]+thousand\b(?:,?[\s-]+(?:and\s+)?{_BELOW_1000})?|{_BELOW_1000})"
)
_MINUS = re.compile(r"\bminus\s+(?=\d)")
_NEGATIVE = re.compile(r"\bnegative\s+(?=\d)")


def number_words_to_digits(text: str, *, bare_one: bool = True) -> str:
    """Write numbers and signs that are spelled out as digits and ``-``.

    Args:
        text: In lower case.
        bare_one: Read "one" by itself as a number too.

    Example:
        >>> number_words_to_digits("one hundred and five minus forty-five")
        '105 - 45'
    """

    def digits(match: re.Match[str]) -> str:
        if match[0] == "one" and not bare_one:
            return "one"
        return str(_value(match[0]))

    return _NEGATIVE.sub("-", _MINUS.sub("- ", _NUMBER.sub(digits, text)))


def digit_words_to_digits(text: str) -> str:
    """Write every word of one digit as that digit: 'one four' is '1 4', 'forty four' stays."""
    words = "|".join(("zero", *_DIGITS))
    return re.sub(rf"\b(?:{words})\b", lambda match: str(_VALUES[match[0]]), text)


def _value(words: str) -> int:
    total = current = 0
    for word in re.findall(r"[a-z]+", words):
        if word == "hundred":
            current = max(current, 1) * 100
        elif word == "thousand":
            total, current = max(current, 1) * 1000, 0
        else:
            current += _VALUES.get(word, 0)
    return total + current
