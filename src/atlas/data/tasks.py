"""Tasks from reasoning-gym, split by the hash of their content.

Input: family names with their reasoning-gym settings, a size and a seed. Output: `Task` lists.

The held-out split is a property of the task itself: a task is held out when its identity, a
SHA-256 of the question, falls into the last tenth. No list has to be kept, so that a model
trained anywhere on the ``train`` split can't have met a held-out task. Two families word the same
sum differently; a task is drawn for the held-out split only where every wording of it is held out.
"""

from __future__ import annotations

import difflib
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from atlas.data.split import place_in_range
from atlas.data.sql_questions import SQL_QUESTIONS
from atlas.data.word_problems import WORD_PROBLEMS
from atlas.errors import AtlasError
from atlas.types import Task, task_id

Split = Literal["train", "held_out"]

HELD_OUT_SHARE = 0.1

# Small numbers: a nano model must be able to execute every single step of these.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "basic_arithmetic": {
        "min_terms": 3,
        "max_terms": 4,
        "min_digits": 1,
        "max_digits": 1,
        "operators": ["+", "-", "*"],
        "allow_parentheses": False,
        "allow_negation": False,
    },
    "chain_sum": {"min_terms": 3, "max_terms": 4, "min_digits": 1, "max_digits": 1},
    "leg_counting": {
        "min_animals": 2,
        "max_animals": 2,
        "min_instances": 2,
        "max_instances": 9,
    },
}

OWN_FAMILIES = {**WORD_PROBLEMS, **SQL_QUESTIONS}
"""Families that reasoning-gym has not."""

_CHUNK = 512
# Ten chunks in a row without one new task: the family is exhausted, not unlucky.
_PATIENCE = 10


def is_held_out(task: Task) -> bool:
    """Tell whether a task belongs to the held-out split, from its content alone."""
    return _in_last_part(task.id)


def wordings(task: Task) -> list[str]:
    """Return the ways in which the families put the problem of a task, its own question first.

    ``Calculate 3 + 4 - 5.`` of basic_arithmetic is ``... problem: 3 + 4 - 5 =`` of chain_sum.
    """
    found = re.search(r"\d+(?: [-+] \d+)+(?= =$|\.$)", task.question)
    if task.family not in ("basic_arithmetic", "chain_sum") or not found or "*" in task.question:
        return [task.question]
    both = [
        f"Calculate {found[0]}.",
        f"State the final answer to the following arithmetic problem: {found[0]} =",
    ]
    return sorted(both, key=lambda wording: wording != task.question)


def make_tasks(family: str, size: int, *, seed: int, split: Split = "train") -> list[Task]:
    """Return ``size`` different tasks of one family.

    Args:
        family: a reasoning-gym dataset; the settings in `PRESETS` apply where there are any.
        split: ``train`` or ``held_out``; the two never share a question.

    Raises:
        AtlasError: the family doesn't exist, or has fewer than ``size`` different tasks.
    """
    found: dict[str, Task] = {}
    stream = task_stream(family, seed)
    barren = 0
    while len(found) < size:
        before = len(found)
        for _ in range(_CHUNK):
            task = next(stream)
            if _belongs(task, split) and len(found) < size:
                found.setdefault(task.id, task)
        barren = 0 if len(found) > before else barren + 1
        if barren == _PATIENCE:
            raise AtlasError(
                f"family '{family}': only {len(found)} different tasks in split '{split}', "
                f"{size} asked for; ask for fewer or add a family"
            )
    return list(found.values())


def mixed_tasks(
    families: Sequence[str], size: int, *, seed: int, split: Split = "train"
) -> list[Task]:
    """Return ``size`` tasks, in equal shares of all families, shuffled by the seed.

    Raises:
        AtlasError: as `make_tasks`, or no family is named.
    """
    if not families:
        raise AtlasError("families: name at least one task family")
    shares = [size // len(families) + (i < size % len(families)) for i in range(len(families))]
    tasks = [
        task
        for family, share in zip(families, shares, strict=True)
        for task in make_tasks(family, share, seed=seed, split=split)
    ]
    random.Random(seed).shuffle(tasks)
    return tasks


def check_disjoint(held_out: Sequence[Task], seen: Sequence[Task]) -> None:
    """Raise AtlasError when a held-out task is among the seen ones, by hash."""
    met = {task_id(wording) for task in held_out for wording in wordings(task)}
    shared = met & {task.id for task in seen}
    if shared:
        raise AtlasError(f"{len(shared)} held-out tasks were seen in training, {min(shared)} first")


def _belongs(task: Task, split: Split) -> bool:
    if split == "train":
        return not is_held_out(task)
    return all(_in_last_part(task_id(wording)) for wording in wordings(task))


def _in_last_part(identity: str) -> bool:
    return place_in_range(identity) >= 1 - HELD_OUT_SHARE


def check_family(family: str) -> None:
    """Raise AtlasError, naming the nearest, when neither we nor reasoning-gym have the family."""
    if family in OWN_FAMILIES:
        return
    import reasoning_gym  # noqa: PLC0415 - slow to import

    known = reasoning_gym.factory.DATASETS
    if family not in known:
        near = difflib.get_close_matches(family, [*known, *OWN_FAMILIES], n=1)
        hint = f"did you mean '{near[0]}'?" if near else "see reasoning_gym.factory.DATASETS"
        raise AtlasError(f"task family '{family}' does not exist in reasoning-gym; {hint}")


def task_stream(family: str, seed: int) -> Iterator[Task]:
    """Yield tasks without end; reasoning-gym draws task i from seed + i."""
    check_family(family)
    rng = random.Random(f"{family}/{seed}")
    while family in OWN_FAMILIES:
        yield OWN_FAMILIES[family](rng)
    import reasoning_gym  # noqa: PLC0415 - slow to import

    # Each seed gets a stretch of its own, so that seeds 0 and 1 don't overlap but for one task.
    start = rng.randrange(2**40)
    while True:
        chunk = reasoning_gym.create_dataset(
            family, size=_CHUNK, seed=start, **PRESETS.get(family, {})
        )
        for entry in chunk:
            yield Task(
                question=entry["question"].strip(),
                answer=_reference(family, entry),
                family=family,
                metadata=entry["metadata"],
            )
        start += _CHUNK


def _reference(family: str, entry: Mapping[str, Any]) -> str:
    """Return the reference answer of an entry, mended where reasoning-gym's own is wrong.

    Without parentheses, reasoning-gym 0.1.25 works basic_arithmetic from left to right, so that
    its answer to "Calculate 1 + 2 * 3." is 9: https://github.com/open-thought/reasoning-gym,
    ``_generate_simple_task``. Every fourth task of the preset was wrong.
    """
    if family == "basic_arithmetic":
        return str(_by_precedence(entry["metadata"]["expression"]))
    return str(entry["answer"])


def _by_precedence(expression: str) -> int:
    """Work ``1 + 2 * 3``: whole numbers, +, - and *, with blanks between."""
    first, *rest = expression.split()
    terms = [int(first)]
    for operator, number in zip(rest[::2], rest[1::2], strict=True):
        if operator == "*":
            terms[-1] *= int(number)
        else:
            terms.append(int(f"{operator}{number}"))
    return sum(terms)
