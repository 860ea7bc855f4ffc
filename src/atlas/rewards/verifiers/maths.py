r"""The answer is mathematically equal to the reference, by math-verify: ``\frac{1}{2}`` is ``0.5``.

Fractions, roots, intervals, sets, matrices, equations and expressions with letters; LaTeX or plain.
The answer is what follows the last ``Answer:``, else the last ``\boxed{}``. The comparison runs in
a process of its own (`maths_worker`), so that any thread may ask and none waits for ever.
"""

from __future__ import annotations

import re

from atlas.rewards.number_words import number_words_to_digits
from atlas.rewards.verifiers.line_process import LineProcess
from atlas.rewards.verifiers.reference import says_the_same
from atlas.rewards.verifiers.verdict import (
    Verdict,
    cannot_tell,
    read_answer,
    right_or_wrong,
    unread,
)
from atlas.types import Task

TIME_LIMIT = 15.0
"""Seconds for one comparison, before its process is killed."""
_START_LIMIT = 120.0
_LONGEST = 2000
_SPACE = re.compile(r"(?<!\\)\\[,!;: ]")
# Two answers in one: whichever is right, none was given.
_HEDGE = re.compile(r"\bor\b|\beither\b|(?<!\\)[,;](?!\d{3}(?!\d))", re.IGNORECASE)

_worker = LineProcess("maths_worker.py", start_limit=_START_LIMIT)


def math_verdict(task: Task, text: str) -> Verdict:
    """Compare the answer with the task's reference."""
    answer = read_answer(text) or _boxed(text)
    if answer is None:
        return unread()
    answer = _SPACE.sub("", answer)
    if says_the_same(number_words_to_digits(answer.casefold()), task.answer):
        return right_or_wrong(True)
    if len(answer) > _LONGEST:
        return right_or_wrong(False, f"the answer has more than {_LONGEST} characters")
    if _HEDGE.search(answer) and not _HEDGE.search(task.answer):
        return right_or_wrong(False, "more than one answer")
    try:
        found = _worker.ask({"reference": task.answer, "answer": answer}, time_limit=TIME_LIMIT)
    except TimeoutError:
        return cannot_tell(f"comparing the answer took more than {TIME_LIMIT:g} s")
    except ConnectionError as error:
        return cannot_tell(f"comparing the answer failed: {error}")
    if not found["reference"]:
        return cannot_tell(
            f"the task's reference '{task.answer[:80]}' can't be read as mathematics"
        )
    if not found["answer"]:
        return unread("the answer is no mathematics")
    return right_or_wrong(found["right"])


def _boxed(text: str) -> str | None:
    r"""Return the last ``\boxed{...}``, its braces balanced."""
    start = text.rfind("\\boxed{")
    depth = 0
    for place in range(start + len("\\boxed"), len(text) if start >= 0 else 0):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start : place + 1]
    return None
