"""The answer is the reference, letter by letter; only blanks and markup around it are taken away.

Settings in ``Task.metadata``: ``answers``, a list of further right answers; ``ignore_case``.
"""

from __future__ import annotations

import unicodedata

from atlas.rewards.verifiers.answers import bare
from atlas.rewards.verifiers.verdict import Verdict, cannot_tell, right_or_wrong
from atlas.types import Task


def exact_verdict(task: Task, answer: str) -> Verdict:
    """Compare the answer with the reference and its alternatives."""
    more = task.metadata.get("answers", ())
    if isinstance(more, str) or not isinstance(more, list | tuple):
        return cannot_tell("the task's answers aren't a list")
    # One letter may be written as two code points; what is read of the answer is bare already.
    right = [unicodedata.normalize("NFC", bare(str(one))) for one in (task.answer, *more)]
    answer = unicodedata.normalize("NFC", bare(answer))
    if task.metadata.get("ignore_case"):
        answer, right = answer.casefold(), [one.casefold() for one in right]
    return right_or_wrong(answer in right)
