"""The answer matches a regular expression, whole; for at most a second.

The pattern is ``pattern`` in ``Task.metadata``, else the reference answer. Patterns such as
``(a+)+b`` take exponential time on some answers. Python's ``re`` can't be stopped in a thread; the
``regex`` package can.
"""

from __future__ import annotations

import regex

from atlas.rewards.verifiers.verdict import Verdict, cannot_tell, right_or_wrong
from atlas.types import Task

TIME_LIMIT = 1.0
"""Seconds; the pattern is to blame for an answer that takes longer, so it is an abstention."""
_LONGEST = 10_000


def regex_verdict(task: Task, answer: str) -> Verdict:
    """Match the answer with the task's pattern."""
    pattern = task.metadata.get("pattern", task.answer)
    if not isinstance(pattern, str):
        return cannot_tell("the task's pattern isn't text")
    if len(answer) > _LONGEST:
        return right_or_wrong(False, f"the answer has more than {_LONGEST} characters")
    if len(pattern) > _LONGEST:
        return cannot_tell(f"the task's pattern has more than {_LONGEST} characters")
    flags = regex.IGNORECASE if task.metadata.get("ignore_case") else 0
    shown = ascii(pattern[:80])
    try:
        found = regex.fullmatch(pattern, answer, flags=flags, timeout=TIME_LIMIT)
    except (regex.error, RecursionError, OverflowError, MemoryError, ValueError) as error:
        return cannot_tell(f"the task's pattern {shown} is no regular expression: {error}")
    except TimeoutError:
        return cannot_tell(f"the task's pattern {shown} took more than {TIME_LIMIT:g} s")
    return right_or_wrong(found is not None)
