"""Which verifier a task has: ``verifier`` in its metadata, else its family, else its reference."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from atlas.errors import AtlasError
from atlas.rewards.verifiers.exact import exact_verdict
from atlas.rewards.verifiers.json_schema import json_verdict
from atlas.rewards.verifiers.maths import math_verdict
from atlas.rewards.verifiers.numeric import numeric_verdict
from atlas.rewards.verifiers.pattern import regex_verdict
from atlas.rewards.verifiers.python_tests import python_verdict
from atlas.rewards.verifiers.reasoning import has_scorer, reasoning_verdict
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
    name = verifier_name(task)
    if name in _RULES:
        return None
    try:
        right = verify(task, f"Answer: {task.answer}").correct
    except AtlasError as error:
        return str(error)
    except Exception as error:  # a foreign scorer may raise anything
        return f"the verifier of family '{task.family}' fails: {type(error).__name__}: {error}"
    return None if right else f"the verifier of family '{task.family}' refuses its own answer"


def verify_all(tasks: Sequence[Task], texts: Sequence[str]) -> list[Verdict]:
    """Score one text a task, the verifiers that wait for other processes side by side."""
    slow = any(verifier_name(task) in _WAITING for task in tasks)
    if not slow:
        return [verify(task, text) for task, text in zip(tasks, texts, strict=True)]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(verify, tasks, texts))


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
