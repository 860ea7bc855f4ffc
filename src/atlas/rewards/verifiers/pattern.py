"""The answer matches a regular expression, whole; for at most a second.

The pattern is ``pattern`` in ``Task.metadata``, else the reference answer. Patterns such as
``(a+)+b`` take exponential time on some answers. Python's ``re`` can't be stopped in a thread; the
``regex`` package can.
"""

from __future__ import annotations

import regex

from atlas.rewards.verifiers.verdict import (
    Verdict,
    cannot_tell,
    read_answer,
    right_or_wrong,
    unread,
)
from atlas.types import Task

TIME_LIMIT = 1.0
"""Seconds; the pattern is to blame for an answer that takes longer, so it is an abstention."""
_LONGEST = 10_000


def regex_verdict(task: Task, text: str) -> Verdict:
    """Match the answer with the task's pattern."""
    pattern = str(task.metadata.get("pattern", task.answer))
    answer = read_answer(text)
    if answer is None:
        return unread()
    if len(answer) > _LONGEST:
        return right_or_wrong(False, f"the answer has more than {_LONGEST} characters")
    flags = regex.IGNORECASE if task.metadata.get("ignore_case") else 0
    try:
        found = regex.fullmatch(pattern, answer, flags=flags, timeout=TIME_LIMIT)
    except regex.error as error:
        return cannot_tell(f"the task's pattern '{pattern}' is no regular expression: {error}")
    except TimeoutError:
        return cannot_tell(f"the task's pattern '{pattern}' took more than {TIME_LIMIT:g} s")
    return right_or_wrong(found is not None)
