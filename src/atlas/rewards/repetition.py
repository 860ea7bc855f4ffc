"""Does a text go round in circles? Phrases that come again and again, and loops at its end.

``repetition = 1 - distinct phrases / phrases`` over runs of four words. A text *loops* where it
ends in one phrase at least four times in a row, or where more than half of its phrases are repeats
and there are at least twelve. A plan repeats its form ("B = A + 7. C = B - 2."), not its words, so
its names and numbers keep its phrases distinct.
"""

from __future__ import annotations

import re

_PHRASE = 4
_TIMES = 4
_FEWEST = 12
_MOST_REPEATED = 0.5
_LONGEST_LOOP = 40
_WORD = re.compile(r"\w+|[^\w\s]")


def repetition(text: str) -> float:
    """Return the share of phrases that are repeats: 0 none, near 1 almost all.

    Example:
        >>> repetition("A = 7 - 3. B = A + 5. Answer B.")
        0.0
        >>> repetition("add it up, " * 10) > 0.8
        True
    """
    phrases = _phrases(text)
    return 1 - len(set(phrases)) / len(phrases) if phrases else 0.0


def loops(text: str) -> bool:
    """Tell whether a text repeats itself as a model does that found no end."""
    words = _WORD.findall(text.casefold())
    if len(_phrases(text)) >= _FEWEST and repetition(text) > _MOST_REPEATED:
        return True
    for length in range(1, min(_LONGEST_LOOP, len(words) // _TIMES) + 1):
        # The end may be cut in the middle of a phrase.
        tail = words[-length * _TIMES :]
        if tail == tail[:length] * _TIMES and any(word.isalnum() for word in tail):
            return True
    return False


def _phrases(text: str) -> list[tuple[str, ...]]:
    words = _WORD.findall(text.casefold())
    return [tuple(words[i : i + _PHRASE]) for i in range(len(words) - _PHRASE + 1)]
