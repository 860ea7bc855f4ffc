"""Which verifier a task has: ``verifier`` in its metadata, else its family."""

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
from atlas.types import Completion, Outcome, Task

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


def verifier_name(task: Task) -> str:
    """Return the name of the verifier that a task asks for."""
    return str(task.metadata.get("verifier", task.family))


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
