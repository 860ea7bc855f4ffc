r"""The answer is mathematically equal to the reference, by math-verify: ``\frac{1}{2}`` is ``0.5``.

Fractions, roots, intervals, sets, matrices, equations and expressions with letters; LaTeX or plain.
The answer is what follows the last ``Answer:``, else the last ``\boxed{}``. The comparison runs in
a jailed process (`maths_worker`), so that any thread may ask, none waits for ever, and an answer
that SymPy would run as code can't. One that takes too long is wrong, if the reference doesn't.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from atlas.rewards.leaks.number_words import number_words_to_digits
from atlas.rewards.verifiers.jailed import JailedWorker, Reply
from atlas.rewards.verifiers.reference import says_the_same
from atlas.rewards.verifiers.verdict import (
    Verdict,
    cannot_tell,
    read_answer,
    right_or_wrong,
    unread,
)
from atlas.types import Task

CPU_SECONDS = 10.0
"""Of the processor for one comparison, after which it is ended."""
_PLAIN = "1"
_LONGEST = 2000
_SPACE = re.compile(r"(?<!\\)\\[,!;: ]")
# Two answers in one: whichever is right, none was given.
_HEDGE = re.compile(r"\bor\b|\beither\b|(?<!\\)[,;](?!\d{3}(?!\d))", re.IGNORECASE)

_worker = JailedWorker("maths_worker.py", what="mathematics")


def math_verdict(task: Task, text: str) -> Verdict:
    """Compare the answer with the task's reference.

    Raises:
        AtlasError: This system can't jail a process.
    """
    return math_verdicts([task], [text])[0]


def math_verdicts(tasks: Sequence[Task], texts: Sequence[str]) -> list[Verdict]:
    """Compare one answer a task, all of them in one call of the jailed process.

    Raises:
        AtlasError: This system can't jail a process.
    """
    told = [_without_asking(task, text) for task, text in zip(tasks, texts, strict=True)]
    asked = [
        (task.answer, one) for task, one in zip(tasks, told, strict=True) if isinstance(one, str)
    ]
    found = iter(_compare(asked))
    return [
        one if isinstance(one, Verdict) else _verdict(task, next(found))
        for task, one in zip(tasks, told, strict=True)
    ]


def _without_asking(task: Task, text: str) -> Verdict | str:
    """Return the verdict where no comparison is needed, else the answer to be compared."""
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
    return answer


def _compare(pairs: Sequence[tuple[str, str]]) -> list[Reply]:
    """Ask; a failure says nothing where comparing the reference with a plain number fails too."""
    replies = _worker.ask(pairs, cpu_seconds=CPU_SECONDS)
    failed = list({pair[0] for pair, reply in zip(pairs, replies, strict=True) if reply.failed})
    checked = _worker.ask([(one, _PLAIN) for one in failed], cpu_seconds=CPU_SECONDS)
    broken = {
        one: Reply(starved=reply.starved or reply.failed)
        for one, reply in zip(failed, checked, strict=True)
        if reply.starved or reply.failed
    }
    return [
        broken.get(reference, reply) if reply.failed else reply
        for (reference, _), reply in zip(pairs, replies, strict=True)
    ]


def _verdict(task: Task, reply: Reply) -> Verdict:
    if reply.starved:
        return cannot_tell(f"comparing the answer failed: {reply.starved}")
    if reply.failed:
        return right_or_wrong(False, f"comparing the answer failed: {reply.failed}")
    found = reply.value
    if not found["reference"]:
        return cannot_tell(
            f"the task's reference '{task.answer[:80]}' can't be read as mathematics"
        )
    if not found["answer"]:
        return unread("the answer is no mathematics")
    return right_or_wrong(bool(found["right"]))


def _boxed(text: str) -> str | None:
    r"""Return the last ``\boxed{...}``, its braces balanced."""
    start = text.rfind("\\boxed{")
    depth = 0
    for place in range(start + len("\\boxed"), len(text) if start >= 0 else 0):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start : place + 1]
    return None
