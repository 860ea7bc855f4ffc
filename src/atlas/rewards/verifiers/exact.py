"""The answer is the reference, letter by letter; only blanks and markup around it are taken away.

Settings in ``Task.metadata``: ``answers``, a list of further right answers; ``ignore_case``.
"""

from __future__ import annotations

from atlas.rewards.verifiers.verdict import Verdict, read_answer, right_or_wrong, unread
from atlas.types import Task


def exact_verdict(task: Task, text: str) -> Verdict:
    """Compare the answer with the reference and its alternatives."""
    answer = read_answer(text)
    if answer is None:
        return unread()
    right = [task.answer, *map(str, task.metadata.get("answers", ()))]
    if task.metadata.get("ignore_case"):
        answer, right = answer.casefold(), [one.casefold() for one in right]
    return right_or_wrong(answer.strip() in [one.strip() for one in right])
