r"""Does a teaching give the answer away?

Input: a `Task` and the text of a teaching. Output: what leaked, or None.

A number has leaked when the teaching, with number words read as digits,

- *states* it as the answer or as a result: "the answer is 9", "A + 2 = 9", "A = 9. Answer A.";
- contains it more often than the task does: a plan may name the task's own numbers, once each;
- contains its digits with only marks, blanks or line breaks between them: "1 4", "1.\n4", "1; 4".

Any other answer has leaked when the teaching contains it as whole words and the task doesn't.

Beyond what it says, a teaching leaks by a code that decodes to the answer (`encoded_leaks`) and by
arithmetic that is the answer and no plan for the task (`arithmetic_leaks`).
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Literal, get_args

from atlas.rewards.leaks.arithmetic import find_arithmetic
from atlas.rewards.leaks.encoded import find_encoded
from atlas.rewards.leaks.number_words import digit_words_to_digits, number_words_to_digits
from atlas.types import Leak, Task

LeakKind = Literal["stated", "contained", "spelled", "split", "encoded", "arithmetic"]
LEAK_KINDS: tuple[LeakKind, ...] = get_args(LeakKind)
"""The causes of a leak, as metrics name them."""

# Not the end of a longer number or of a decimal fraction.
_START = r"(?<!\d)(?<!\d\.)"
_DIGITS = rf"{_START}\d+(?:\.\d+)?(?!\.?\d)"
_UNSIGNED = re.compile(_DIGITS)
# A minus is a sign where no operand can stand before it; with a blank after it, only where
# something is being stated: "C = B - 5" names 5, "the answer is - 5" names -5.
_SIGNED = re.compile(
    rf"(?:(?<![\w)])-|(?:\A|[=:(,\"]|\b(?:is|be|equals|gives|get|answer))\s*-\s+){_DIGITS}"
)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_ZERO_FACTOR = re.compile(r"[*×]\s*0(?!\.?\d)|(?<![\d.])0(?=\s*[*×])")
# A number beside an operator is an operand, and no result.
_NO_OPERATOR = r"(?![ \t]*(?:[-+*/×][ \t]*(?:[\d(]|[a-z]\b)|(?:plus|minus|times)\b))"
_STATING = (
    r"(?:\b(?:answer|result|solution|equals?|gives?)\b(?:\s+(?:is|be|are|equals?|should|will|to))*"
    r"|\b(?:total|sum|it)\s+(?:is|be|equals?)\b|\b(?:total|sum)\s*[:=]"
    r"|[-+*/×]\s*\w+\s*=)"
)
_STATED = re.compile(rf"{_STATING}[\s:=,(\"'`*]*(?P<number>(?:-\s*)?{_DIGITS}){_NO_OPERATOR}")
_NAMED = re.compile(rf"\b(?P<name>[a-z])\s*(?:=|is)\s*(?P<number>(?:-\s*)?{_DIGITS}){_NO_OPERATOR}")
# What may stand between two digits of one answer that was pulled apart. One operator may not:
# "1 * 4" is a product.
_GAP = r"(?!\s*[-+*/×]\s*\d)(?:[\W_]|\band\b)*"


def find_leak(task: Task, teaching: str) -> Leak | None:
    """Return how the teaching leaks the answer; None where it doesn't."""
    return _find_leak(task.answer, task.question, teaching)


# The teachings of a group are often the same, word for word.
@lru_cache(maxsize=4096)
def _find_leak(wanted: str, asked: str, teaching: str) -> Leak | None:
    answer = _normalise(wanted)
    question, said = _normalise(asked), _normalise(_without_list_numbers(teaching))
    if not any(mark.isalnum() for mark in answer):
        return None
    if _NUMBER.fullmatch(answer):
        leak = _number_leak(answer, question, said)
    else:
        leak = _word_leak(wanted, answer, question, said)
    if leak is None and (code := find_encoded(answer, asked, teaching)):
        return Leak(kind="encoded", reason=f"gives the answer {wanted} in code: {code}")
    if leak is None and (numbers := find_arithmetic(answer, question, said)):
        reason = f"gives the answer {wanted} as arithmetic of its own: {numbers}"
        return Leak(kind="arithmetic", reason=reason)
    return leak


def _word_leak(shown: str, answer: str, question: str, said: str) -> Leak | None:
    marks = [re.escape(mark) for mark in answer if mark.isalnum()]
    whole = re.compile(r"(?<!\w)" + r"[\W_]*".join(marks) + r"(?!\w)")
    if whole.search(said) and not whole.search(question):
        return Leak(kind="contained", reason=f"contains the answer '{shown}'")
    return None


def _number_leak(answer: str, question: str, said: str) -> Leak | None:
    value = float(answer)
    if _states(value, number_words_to_digits(said)):
        return Leak(kind="stated", reason=f"states the answer {answer}")
    if _count(value, said) > _count(value, question):
        return Leak(kind="contained", reason=f"contains the answer {answer}")
    # "one" is a pronoun more often than a number.
    spelled = [number_words_to_digits(text, bare_one=False) for text in (said, question)]
    if _count(value, spelled[0]) > _count(value, spelled[1]):
        return Leak(kind="spelled", reason=f"spells the answer {answer}")
    digits = answer.lstrip("-")
    if len(digits) > 1:
        pulled = re.compile(_START + _GAP.join(map(re.escape, digits)) + r"(?!\d)")
        for text in (said, digit_words_to_digits(said)):
            if len(pulled.findall(text)) > len(pulled.findall(question)):
                return Leak(kind="split", reason=f"contains the answer {answer} pulled apart")
    return None


def _states(value: float, text: str) -> bool:
    if any(_read(match["number"]) == value for match in _STATED.finditer(text)):
        return True
    names = [m["name"] for m in _NAMED.finditer(text) if _read(m["number"]) == value]
    return any(re.search(rf"\banswer\W+(?:is\W+)?{name}\b", text) for name in names)


def _count(value: float, text: str) -> int:
    """Count the numbers of a text that equal a value, each read with and without its sign.

    A factor of 0 is no result: a snake has 0 legs, so 7 snakes are "7 * 0".
    """
    text = _ZERO_FACTOR.sub(" ", text)
    signed = [_read(match[0]) for match in _SIGNED.finditer(text)]
    unsigned = [float(match[0]) for match in _UNSIGNED.finditer(text)]
    return signed.count(value) + unsigned.count(value)


def _read(number: str) -> float:
    """Read a number, its sign perhaps apart from it, with what stands before the sign."""
    found = re.search(r"(-?)\s*(\d+(?:\.\d+)?)$", number)
    assert found is not None, number
    return float(found[1] + found[2])


def _normalise(text: str) -> str:
    text = unicodedata.normalize("NFKC", text)
    text = "".join(mark for mark in text if unicodedata.category(mark) != "Cf")
    text = re.sub("[\u2010-\u2015\u2212]", "-", text)
    return re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text).casefold().strip()


def _without_list_numbers(text: str) -> str:
    """Take away the numbers of a list's items: 1, 2, ... at the beginnings of lines."""
    item = re.compile(r"^[ \t]*(\d+)[.)](?=[ \t]+\S)", re.MULTILINE)
    numbers = [int(number) for number in item.findall(text)]
    if len(numbers) < 2 or numbers != list(range(1, len(numbers) + 1)):
        return text
    return item.sub("", text)
