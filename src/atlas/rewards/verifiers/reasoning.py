"""reasoning-gym's own scorers, on the final answer of a text; the family is the data set.

Some of them hand the answer to `eval` or to SymPy. So a scorer runs in a jailed process
(`scorer_worker`), many answers a call, unless it is known to do no more than compare texts: the
one that every data set inherits, and those of `PURE`. An answer at which a scorer fails, or that
takes it too long, is wrong, for the model wrote it; where the scorer fails at the task's own
answer too, nothing can be said.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from atlas.rewards.sandbox.wire import encode
from atlas.rewards.verifiers.jailed import JailedWorker, Reply
from atlas.rewards.verifiers.verdict import Verdict, cannot_tell, right_or_wrong
from atlas.types import Task

PURE = ("chain_sum", "products")
"""Families with a scorer of their own that reads the answer as a decimal number, else compares
texts. Their code is checked by ``test_pure_scorers_only_compare``."""

Scorer = Callable[[str, dict[str, Any]], float]

_worker = JailedWorker("scorer_worker.py", what="reasoning-gym's families")


def reasoning_verdicts(tasks: Sequence[Task], answers: Sequence[str]) -> list[Verdict]:
    """Score one answer a task by its family's scorer, in one call of the jailed process.

    Raises:
        AtlasError: This system can't jail a process.
    """
    verdicts: dict[int, Verdict] = {}
    jailed: list[tuple[int, Task, str]] = []
    for place, (task, answer) in enumerate(zip(tasks, answers, strict=True)):
        if scores_in_process(task.family):
            reply = Reply(value=_scorer(task.family)(answer, _entry(task)))
            verdicts[place] = _verdict(task, reply)
        else:
            jailed.append((place, task, answer))
    replies = _ask([(task, answer) for _, task, answer in jailed])
    verdicts |= {
        place: _verdict(task, reply)
        for (place, task, _), reply in zip(jailed, replies, strict=True)
    }
    return [verdicts[place] for place in range(len(tasks))]


def has_scorer(family: str) -> bool:
    """Tell whether reasoning-gym has a data set of this name."""
    if not family:
        return False
    import reasoning_gym  # noqa: PLC0415 - slow to import

    return family in reasoning_gym.factory.DATASETS


@cache
def scores_in_process(family: str) -> bool:
    """Tell whether a family's scorer only compares, so that it needs no jail."""
    from reasoning_gym.dataset import ProceduralDataset  # noqa: PLC0415 - slow to import
    from reasoning_gym.factory import DATASETS  # noqa: PLC0415

    inherited = DATASETS[family][0].score_answer is ProceduralDataset.score_answer
    return inherited or family in PURE


def _ask(pairs: Sequence[tuple[Task, str]]) -> list[Reply]:
    """Return the replies; one that failed is starved where the task's own answer fails too."""
    replies = _score_jailed(pairs)
    tasks = {id(task): task for (task, _), one in zip(pairs, replies, strict=True) if one.failed}
    checked = _score_jailed([(task, task.answer) for task in tasks.values()])
    broken = {
        key: Reply(starved=one.starved or _fails(task, one))
        for (key, task), one in zip(tasks.items(), checked, strict=True)
        if one.failed or one.starved
    }
    return [
        broken.get(id(task), reply) if reply.failed else reply
        for (task, _), reply in zip(pairs, replies, strict=True)
    ]


def _fails(task: Task, reply: Reply) -> str:
    return f"the verifier of family '{task.family}' fails: {reply.failed}"


def _score_jailed(pairs: Sequence[tuple[Task, str]]) -> list[Reply]:
    """Ask the worker; metadata that can't travel is a failure of the task."""
    numbers: dict[int, int] = {}
    entries: list[Any] = []
    replies: dict[int, Reply] = {}
    items: list[tuple[str, int, str]] = []
    for place, (task, answer) in enumerate(pairs):
        if id(task) not in numbers:
            try:
                encoded = encode(_entry(task), _refuse)
            except (TypeError, ValueError, RecursionError) as error:
                replies[place] = Reply(failed=f"its metadata can't be handed over: {error}")
                continue
            numbers[id(task)] = len(entries)
            entries.append(encoded)
        items.append((task.family, numbers[id(task)], answer))
    asked = iter(_worker.ask(items, shared={"entries": entries}))
    return [
        replies[place] if place in replies else _checked(next(asked)) for place in range(len(pairs))
    ]


def _checked(reply: Reply) -> Reply:
    """Return a reply whose value is a score."""
    if reply.failed or reply.starved:
        return reply
    value = reply.value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not 0 <= value <= 1:
        return Reply(failed=f"its score is no number from 0 to 1: {str(value)[:40]}")
    return reply


def _verdict(task: Task, reply: Reply) -> Verdict:
    if reply.starved:
        return cannot_tell(reply.starved)
    if reply.failed:
        return right_or_wrong(False, _fails(task, reply))
    return Verdict(score=float(reply.value), parsed=True)


def _refuse(value: object) -> int:
    raise TypeError(f"it holds a {type(value).__name__}")


def _entry(task: Task) -> dict[str, Any]:
    return {"question": task.question, "answer": task.answer, "metadata": dict(task.metadata)}


@cache
def _scorer(family: str) -> Scorer:
    """Return a scorer of those that need no jail."""
    import reasoning_gym  # noqa: PLC0415 - slow to import

    scorer: Any = reasoning_gym.get_score_answer_fn(family)
    return scorer
