"""Does a teaching give the answer away?

Input: a `Task` and the text of a teaching. Output: what leaked, or None.

The teaching is normalised first: number words become digits, and digits that only blanks, line
breaks, commas or dashes keep apart are joined, each way that they can be. A number answer has
leaked when it stands in the teaching more often than in the task (a plan may name the task's own
numbers, once each); any other answer, when the teaching contains it and the task doesn't.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

from atlas.types import Task

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_WORDS = {word: i for i, word in enumerate(_ONES)} | {w: 20 + 10 * i for i, w in enumerate(_TENS)}
_SCALES = {"hundred": 100, "thousand": 1000}
_WORD = "|".join([*_WORDS, *_SCALES])
_SPELLED = re.compile(
    rf"\b(?:(?:minus|negative)\s+)?(?:{_WORD})(?:(?:[\s-]+(?:and\s+)?)(?:{_WORD}))*\b"
)
# What may stand between two digits of one answer that was pulled apart.
_GAP = r"[\s,_|/'\"`*]*"
_NUMBER = re.compile(r"(?<![\d.])-?\d+(?:\.\d+)?(?!\d)")
_UNSIGNED = re.compile(r"(?<![\d.])\d+(?:\.\d+)?(?!\d)")


def find_leak(task: Task, teaching: str) -> str | None:
    """Return how the teaching leaks the answer, in words for a log; None where it doesn't."""
    answer = _normalise(task.answer)
    question, said = _normalise(task.question), _normalise(teaching)
    if _NUMBER.fullmatch(answer):
        return _number_leak(answer, question, said)
    bare = re.sub(r"\W+", "", answer)
    if bare and bare in re.sub(r"\W+", "", said) and bare not in re.sub(r"\W+", "", question):
        return f"contains the answer '{task.answer}'"
    return None


def _number_leak(answer: str, question: str, said: str) -> str | None:
    value = float(answer)
    allowed = _count(value, question)
    if _count(value, said) > allowed:
        return f"contains the answer {answer}"
    if _count(value, _spelled_to_digits(said)) > _count(value, _spelled_to_digits(question)):
        return f"spells the answer {answer}"
    digits = answer.lstrip("-")
    if len(digits) > 1:
        pulled = re.compile(r"(?<![\d.])" + _GAP.join(digits) + r"(?!\d)")
        for text in (said, _digit_words(said)):
            if len(pulled.findall(text)) > len(pulled.findall(question)):
                return f"contains the answer {answer} pulled apart"
    return None


def _normalise(text: str) -> str:
    return unicodedata.normalize("NFKC", text).replace("\u2212", "-").casefold().strip()


def _count(value: float, text: str) -> int:
    """Count the numbers of a text that equal a value; a subtraction's operand counts unsigned."""
    found = Counter(float(number) for number in _NUMBER.findall(text))
    unsigned = Counter(float(number) for number in _UNSIGNED.findall(text))
    return max(found[value], unsigned[value])


def _spelled_to_digits(text: str) -> str:
    return _SPELLED.sub(lambda match: str(_read_words(match[0])), text)


def _digit_words(text: str) -> str:
    """Write each number word below ten as its digit, the others as they are: 'one four'."""
    return re.sub(
        rf"\b({'|'.join(_ONES[:10])})\b", lambda match: str(_WORDS[match[1]]), text
    )


def _read_words(words: str) -> int:
    total, current = 0, 0
    parts = re.findall(r"[a-z]+", words)
    for word in parts:
        if word in _WORDS:
            current += _WORDS[word]
        elif word in _SCALES:
            current = max(current, 1) * _SCALES[word]
            if word == "thousand":
                total, current = total + current, 0
    value = total + current
    return -value if parts[0] in ("minus", "negative") else value
