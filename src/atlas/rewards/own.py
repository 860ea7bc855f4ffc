"""A reward of the user's own: one function, named in YAML and allowed on the command line.

::

    def reward(task: Task, answer: str) -> Score | float | None: ...

``answer`` is what the student wrote after the teaching. A function may also take, by name,
``teaching``, ``approach`` and ``baseline``. None is an abstention. A number is what Python, NumPy
and torch call one. What it raises (``sys.exit()`` too), and what is no score, ends the training
with the function's name and the task: a reward that fails is never a 0.
"""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from atlas.config.grammar.own_code import load_own
from atlas.errors import AtlasError, OwnCodeError
from atlas.rewards.composition import Scorer
from atlas.types import Lesson, Score, Task

_TAKES = ("task", "answer", "teaching", "approach", "baseline")
_SHOWN = 60
_SAID = 300


def load_reward(name: str, allowed: Collection[str]) -> Scorer:
    """Return the user's function as a scorer of teachings.

    Args:
        name: ``module.function`` or ``module:function``.
        allowed: Names that the command line allows; nothing is imported for any other.

    Raises:
        AtlasError: It isn't allowed, isn't there, or takes something that there is not.
    """
    function = load_own("reward_function", name, allowed)
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise AtlasError(f"reward_function '{name}' must return its score: no async, no yield")
    takes = _arguments(name, function)

    def scorer(lessons: Sequence[Lesson]) -> list[Score]:
        return [_score(name, function, takes, lesson) for lesson in lessons]

    return scorer


def _arguments(name: str, function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names that it takes, of those that there are."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise AtlasError(f"reward_function '{name}' doesn't say what it takes") from error
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    unknown = [p.name for p in named if p.name not in _TAKES and p.default is p.empty]
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
    if unknown or not (named or takes_all):
        raise AtlasError(
            f"reward_function '{name}' must take some of {', '.join(_TAKES)}"
            + (f", not '{unknown[0]}'" if unknown else "")
        )
    return _TAKES if takes_all else tuple(p.name for p in named if p.name in _TAKES)


def _score(name: str, function: Callable[..., Any], takes: Sequence[str], lesson: Lesson) -> Score:
    given = {
        "task": lesson.task,
        "answer": lesson.attempt.text,
        "teaching": lesson.teaching.text,
        "approach": lesson.approach.text,
        "baseline": lesson.alone.text,
    }
    try:
        found = function(**{argument: given[argument] for argument in takes})
    except (Exception, SystemExit) as error:
        # sys.exit() would end the training as if it were done, with exit code 0.
        raise OwnCodeError(
            f"reward_function '{name}' failed on {_named(lesson.task)}: {_said(error)}"
        ) from error
    score = _checked(found)
    if score is None:
        raise AtlasError(
            f"reward_function '{name}' returned {_shown(found)} for {_named(lesson.task)}; it "
            "must return a finite number, a Score of such, or None"
        )
    return score


def _checked(found: object) -> Score | None:
    """Return what was returned as a score, None where it is none."""
    if found is None:
        return Score(value=None, reason="the function abstained")
    if not isinstance(found, Score):
        value = _number(found)
        return None if value is None else Score(value=value)
    if not isinstance(found.parts, Mapping) or not isinstance(found.reason, str):
        return None
    value = None if found.value is None else _number(found.value)
    parts = {str(name): _number(part) for name, part in found.parts.items()}
    kept = {name: part for name, part in parts.items() if part is not None}
    if len(kept) < len(parts) or (value is None) is not (found.value is None):
        return None
    return replace(found, value=value, parts=kept)


def _number(value: Any) -> float | None:
    """Return a number of Python, NumPy or torch as a float; None for NaN and all else."""
    try:
        if not isinstance(value, numbers.Real | Decimal):
            value = value.item()  # a tensor or an array of one element
        number = float(value) if isinstance(value, numbers.Real | Decimal) else math.nan
    except (AttributeError, TypeError, ValueError, RuntimeError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _shown(value: object) -> str:
    try:
        shown = ascii(value)
    except Exception:  # whatever its class makes of that; 10**5000 has too many digits
        shown = "that can't be shown"
    return f"{type(value).__name__} {' '.join(shown.split())[:_SHOWN]}"


def _said(error: BaseException) -> str:
    try:
        said = " ".join(str(error).split())[:_SAID]
    except Exception:  # of a class of the user's
        said = ""
    return f"{type(error).__name__}: {said}"


def _named(task: Task) -> str:
    return f"task {task.id} ('{' '.join(task.question.split())[:_SHOWN]}')"
