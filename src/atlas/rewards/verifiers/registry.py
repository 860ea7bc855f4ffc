"""Which verifier a task has: ``verifier`` in its metadata, else its family, else its reference."""

from __future__ import annotations

import difflib
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from atlas.errors import AtlasError
from atlas.rewards.verifiers.exact import exact_verdict
from atlas.rewards.verifiers.json_schema import json_verdict
from atlas.rewards.verifiers.maths import math_verdict, math_verdicts
from atlas.rewards.verifiers.numeric import numeric_verdict
from atlas.rewards.verifiers.pattern import regex_verdict
from atlas.rewards.verifiers.python_tests import python_verdict
from atlas.rewards.verifiers.reasoning import (
    has_scorer,
    reasoning_verdict,
    reasoning_verdicts,
)
from atlas.rewards.verifiers.reference import reference_verdict
from atlas.rewards.verifiers.verdict import Verdict, Verifier
from atlas.types import REFERENCE, Completion, Outcome, Task

VERIFIERS: Mapping[str, Verifier] = {
    "exact": exact_verdict,
    "json_schema": json_verdict,
    "math": math_verdict,
    "numeric": numeric_verdict,
    "python_tests": python_verdict,
    "reference": reference_verdict,
    "regex": regex_verdict,
}
"""By name. Any data set of reasoning-gym is a name too, with reasoning-gym's own scorer."""

_SCORER = "a data set of reasoning-gym"
_AT_ONCE: Mapping[str, Callable[[Sequence[Task], Sequence[str]], list[Verdict]]] = {
    _SCORER: reasoning_verdicts,
    "math": math_verdicts,
}
"""Verifiers that are given many answers at a time, in one call of a process."""
_WAITING = ("python_tests",)
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
        return reasoning_verdict
    near = difflib.get_close_matches(name, VERIFIERS, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(VERIFIERS)}"
    raise AtlasError(f"no verifier is called '{name}'; {hint} Or name a data set of reasoning-gym")


def verify(task: Task, text: str) -> Verdict:
    """Score a text with the verifier of the task.

    Raises:
        AtlasError: The task names a verifier that doesn't exist.
    """
    return find_verifier(verifier_name(task))(task, text)


def accepts_reference(task: Task) -> str | None:
    """Return why the verifier does not take the task's own answer for right; None where it does.

    Such a task can't be solved: its answer is wrong, or its verifier needs metadata that isn't
    there. Verifiers whose reference is a rule and no answer have nothing to be checked.
    """
    if verifier_name(task) in _RULES:
        return None
    try:
        found = verify(task, f"Answer: {task.answer}")
    except AtlasError as error:
        return str(error)
    if found.score is None and find_verifier(verifier_name(task)) is reasoning_verdict:
        return found.reason
    refuses = f"the verifier of family '{task.family}' refuses its own answer"
    return None if found.correct else refuses


def verify_all(tasks: Sequence[Task], texts: Sequence[str]) -> list[Verdict]:
    """Score one text a task: those for a jailed worker in one call, the rest side by side.

    Raises:
        AtlasError: A task names a verifier that doesn't exist, or this system can't jail a process.
    """
    if len(tasks) != len(texts):
        raise ValueError(f"{len(tasks)} tasks and {len(texts)} texts")
    places: dict[str, list[int]] = defaultdict(list)
    for place, task in enumerate(tasks):
        name = verifier_name(task)
        is_scorer = find_verifier(name) is reasoning_verdict
        places[_SCORER if is_scorer else name].append(place)
    verdicts: dict[int, Verdict] = {}
    for name, some in places.items():
        verdicts |= zip(some, _verify_some(name, tasks, texts, some), strict=True)
    return [verdicts[place] for place in range(len(tasks))]


def _verify_some(
    name: str, tasks: Sequence[Task], texts: Sequence[str], places: Sequence[int]
) -> list[Verdict]:
    some, said = [tasks[place] for place in places], [texts[place] for place in places]
    if name in _AT_ONCE:
        return _AT_ONCE[name](some, said)
    if name not in _WAITING:
        return [verify(task, text) for task, text in zip(some, said, strict=True)]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(verify, some, said))


def outcome(task: Task, completion: Completion) -> Outcome:
    """Return how one completion turned out."""
    (found,) = outcomes([task], [completion])
    return found


def outcomes(tasks: Sequence[Task], completions: Sequence[Completion]) -> list[Outcome]:
    """Return how completions turned out, one a task."""
    verdicts = verify_all(tasks, [completion.text for completion in completions])
    return [_outcome(c, v) for c, v in zip(completions, verdicts, strict=True)]


def _outcome(completion: Completion, verdict: Verdict) -> Outcome:
    return Outcome(
        text=completion.text,
        correct=verdict.correct,
        num_tokens=completion.num_tokens,
        finished=completion.finish_reason == "stop",
        parsed=verdict.parsed,
        unverified=verdict.reason if verdict.score is None else "",
    )
