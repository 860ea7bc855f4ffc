"""Which verifier a task has: ``verifier`` in its metadata, else its family, else its reference."""

from __future__ import annotations

import difflib
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from atlas.config.parts.answers import AUTO, check_answer_format
from atlas.errors import AtlasError
from atlas.rewards.verifiers.answers import FinalAnswer, read_answer, read_block
from atlas.rewards.verifiers.exact import exact_verdict
from atlas.rewards.verifiers.json_schema import json_verdict
from atlas.rewards.verifiers.maths.verifier import math_verdicts
from atlas.rewards.verifiers.numeric.verifier import numeric_verdict
from atlas.rewards.verifiers.pattern import regex_verdict
from atlas.rewards.verifiers.python_tests import python_verdict
from atlas.rewards.verifiers.reasoning import has_scorer, reasoning_verdicts
from atlas.rewards.verifiers.reference import reference_verdict
from atlas.rewards.verifiers.sql import sql_verdict
from atlas.rewards.verifiers.verdict import Verifier, cannot_tell, unread
from atlas.types import REFERENCE, Attempt, Task, Verdict


def one_by_one(verdict: Callable[[Task, str], Verdict]) -> Verifier:
    """Return the verifier that has a verdict on each answer by itself."""
    return lambda tasks, answers: list(map(verdict, tasks, answers))


def in_threads(verdict: Callable[[Task, str], Verdict]) -> Verifier:
    """Return the same for a verdict that waits for another process: many wait at a time."""

    def verifier(tasks: Sequence[Task], answers: Sequence[str]) -> list[Verdict]:
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            return list(pool.map(verdict, tasks, answers))

    return verifier


VERIFIERS: Mapping[str, Verifier] = {
    "exact": one_by_one(exact_verdict),
    "json_schema": one_by_one(json_verdict),
    "math": math_verdicts,
    "numeric": one_by_one(numeric_verdict),
    "python_tests": in_threads(python_verdict),
    "reference": one_by_one(reference_verdict),
    "regex": one_by_one(regex_verdict),
    "sql": in_threads(sql_verdict),
}
"""By name. Any data set of reasoning-gym is a name too, with reasoning-gym's own scorer."""
_BLOCKS = {"json_schema": ("json",), "python_tests": ("python", "py", "python3")}
"""Verifiers of answers of several lines, with the languages that mark them."""
_RULES = ("json_schema", "python_tests", "regex")


def verifier_name(task: Task) -> str:
    """Return the name of the verifier of a task.

    ``verifier`` in its metadata names one; else its family does, where it is one of `VERIFIERS` or
    a data set of reasoning-gym. Any other family is a label, and the reference answer decides.
    """
    named = task.metadata.get("verifier")
    if named is not None:
        return str(named)
    known = task.family in VERIFIERS or has_scorer(task.family)
    return task.family if known else REFERENCE


def find_verifier(name: str) -> Verifier:
    """Return a verifier by name.

    Raises:
        AtlasError: There is none of that name.
    """
    if name in VERIFIERS:
        return VERIFIERS[name]
    if has_scorer(name):
        return reasoning_verdicts
    near = difflib.get_close_matches(name, VERIFIERS, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(VERIFIERS)}."
    raise AtlasError(f"no verifier is called '{name}'; {hint} Or name a data set of reasoning-gym")


def verify(task: Task, text: str, answer_format: str = AUTO) -> Verdict:
    """Read the final answer of a text and score it; arguments and errors of `verify_all`."""
    return verify_all([task], [text], answer_format)[0]


def verify_all(
    tasks: Sequence[Task],
    texts: Sequence[str],
    answer_format: str = AUTO,
    *,
    name_of: Callable[[Task], str] = verifier_name,
) -> list[Verdict]:
    """Score one text a task: those for a jailed worker in one call, the rest side by side.

    Args:
        tasks: ``answer_format`` in a task's metadata goes before the argument.
        name_of: Says which verifier a task has.

    Raises:
        AtlasError: A task names a verifier that doesn't exist, or this system can't jail a process.
    """
    places: dict[Verifier, list[int]] = defaultdict(list)
    verdicts: dict[int, Verdict] = {}
    readings: dict[int, FinalAnswer] = {}
    for place, (task, text) in enumerate(zip(tasks, texts, strict=True)):
        name = name_of(task)
        verifier = find_verifier(name)
        if not task.answer and name not in _RULES:
            verdicts[place] = cannot_tell("the task has no reference answer")
            continue
        reading = _read(task, name, text, answer_format)
        if isinstance(reading, FinalAnswer):
            readings[place] = reading
            places[verifier].append(place)
        else:
            verdicts[place] = reading
    for verifier, some in places.items():
        answers = [readings[place].text for place in some]
        found = verifier([tasks[place] for place in some], answers)
        verdicts |= {
            place: replace(verdict, rule=readings[place].rule)
            for place, verdict in zip(some, found, strict=True)
        }
    return [verdicts[place] for place in range(len(tasks))]


def _read(task: Task, name: str, text: str, answer_format: str) -> FinalAnswer | Verdict:
    if name in _BLOCKS:
        return read_block(text, *_BLOCKS[name]) or unread()
    own = task.metadata.get("answer_format")
    if own is not None:
        try:
            answer_format = check_answer_format(own, where="the task's answer_format")
        except AtlasError as error:
            return cannot_tell(str(error), parsed=False)
    return read_answer(text, answer_format) or unread()


def accepts_reference(task: Task) -> str | None:
    """Return why the verifier does not take the task's own answer for right; None where it does.

    Such a task can't be solved: its answer is wrong, or its verifier needs metadata that isn't
    there. Verifiers whose reference is a rule and no answer have nothing to be checked.
    """
    name = verifier_name(task)
    try:
        check_answer_format(task.metadata.get("answer_format") or AUTO)
        if name in _RULES:
            return None
        verifier = find_verifier(name)
        reading = read_answer(f"Answer: {task.answer}", "answer")
        (found,) = verifier([task], [reading.text]) if reading else [unread()]
    except AtlasError as error:
        return str(error)
    if found.score is None and verifier is reasoning_verdicts:
        return found.reason
    refuses = f"the verifier of family '{task.family}' refuses its own answer"
    return None if found.correct else refuses


def verified(
    tasks: Sequence[Task],
    attempts: Sequence[Attempt],
    answer_format: str = AUTO,
    *,
    name_of: Callable[[Task], str] = verifier_name,
) -> list[Attempt]:
    """Return attempts with the verdict on each; one that abstained gets no other than that.

    Args:
        tasks: One an attempt.
        attempts: Of any student.
        name_of: Says which verifier a task has, where a second opinion is asked for.
    """
    each = [
        (task, one)
        for task, first in zip(tasks, attempts, strict=True)
        for one in (first, *first.again)
    ]
    made = [(task, one) for task, one in each if not one.abstained]
    texts = [one.text for _, one in made]
    verdicts = iter(verify_all([t for t, _ in made], texts, answer_format, name_of=name_of))

    def judged(one: Attempt) -> Attempt:
        verdict = cannot_tell(one.abstained) if one.abstained else next(verdicts)
        return replace(one, verdict=verdict)

    # In the order of `each`, as the verdicts are.
    return [replace(judged(first), again=tuple(map(judged, first.again))) for first in attempts]
