"""Training or evaluation? The side that a task is on, from its text alone.

Input: the text of a task. Output: its key, and the side that the key falls on. Tasks that say
the same in another way have one key, and so one side::

    "Calculate 3 + 4 - 5."                      -> "+ - 3 4 5"
    "What is 4 + 3 - 5?"                        -> "+ - 3 4 5"     terms in another order
    "Please compute: 3.0 + 04 - 5 = ?"          -> "+ - 3 4 5"     wording and digits

The key is the sorted multiset of the task's words, numbers and signs of arithmetic. Unicode
compatibility (NFKC), case, punctuation, spelling of numbers (``1,000``, ``3.0``, ``007``) and words
that only ask (``calculate``, ``please``, ``the``) make no difference. The side is the SHA-256 of
the key as a share of its range: below the share asked for it is evaluation.

What holds. A side depends on nothing but the text and the share: not on order, machine or Python's
version (for characters that Unicode 14 has), nor on which other sessions there are, so that
sessions may come and go. A larger share only moves tasks to evaluation. The time is that of sorting
the words of one text, so that of a set grows linearly.

What doesn't. Texts that differ in a word with a meaning have two keys, so a paraphrase may be on
the other side. Different tasks with the same words (``7 - 3``, ``3 - 7``) share a side, which costs
nothing.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Final, Literal

Side = Literal["train", "eval"]

# A number, a word, or a sign that changes a value.
_TOKEN: Final = re.compile(r"\d[\d,]*(?:\.\d+)?|\.\d+|[^\W\d_]+|[-+*/^%<>]")
_GROUPED: Final = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_INSIDE_WORDS: Final = re.compile("(?<=[^\\W\\d_])['\u2019\u2010-](?=[^\\W\\d_])")
_SIGNS: Final = str.maketrans("\u2212\u2013\u00d7\u00b7\u22c5\u00f7\u2044", "--***//")
_ASKING_WORDS: Final = (
    "a an and answer arithmetic are calculate compute determine equal equals evaluate express "
    "expression final find following for give given how i in is it me much now of please problem "
    "question report result say solution solve state tell the this to value what whats work you "
    "your"
)
_ASKING: Final = frozenset(_ASKING_WORDS.split())


def task_key(task: str) -> str:
    """Return the key of a task: equal for tasks that say the same in another way.

    Example:
        >>> task_key("Calculate 3 + 4 - 5.") == task_key("What is 04 + 3.0 − 5 ?")
        True
    """
    text = unicodedata.normalize("NFKC", task).translate(_SIGNS).casefold()
    tokens = sorted(
        spelling
        for token in _TOKEN.findall(_INSIDE_WORDS.sub("", text))
        for spelling in _spellings(token)
    )
    telling = [token for token in tokens if token not in _ASKING]
    # A task may consist of asking words only, or of signs of another kind; it is still a task.
    return " ".join(telling or tokens or text.split())


def side_of(task: str, eval_share: float) -> Side:
    """Return the side that a task, and with it every session on it, is on.

    Args:
        eval_share: Share of the keys that goes to evaluation, 0 to 1.
    """
    digest = hashlib.sha256(task_key(task).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return "eval" if place_in_range(digest) < eval_share else "train"


def place_in_range(digest: str) -> float:
    """Return where 16 hexadecimal digits are in their range: from 0 to below 1."""
    return int(digest, 16) / 16**16


def _spellings(token: str) -> list[str]:
    """Return a token in one spelling; ``1,2`` is two numbers, ``1,200`` one."""
    if not any(mark.isdecimal() for mark in token):
        return [token]
    if "," in token and not _GROUPED.fullmatch(token):
        return [spelling for part in token.split(",") if part for spelling in _spellings(part)]
    # Text, not arithmetic: a number may have any length, and no rounding may join two.
    whole, _, fraction = token.replace(",", "").partition(".")
    whole, fraction = _ascii(whole).lstrip("0") or "0", _ascii(fraction).rstrip("0")
    return [f"{whole}.{fraction}" if fraction else whole]


def _ascii(digits: str) -> str:
    """Return decimal digits of any script as 0 to 9."""
    return "".join(str(unicodedata.decimal(digit)) for digit in digits)
