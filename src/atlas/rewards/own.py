"""A reward of the user's own: one function, named in YAML and allowed on the command line.

::

    def reward(task: Task, answer: str) -> Score | float | None: ...

``answer`` is what the student wrote after the teaching. A function may also take, by name,
``teaching``, ``approach`` and ``baseline``. None is an abstention. What it raises, and what is no
score, ends the training with the function's name and the task: a reward that fails is never a 0.
"""

from __future__ import annotations

import importlib
import inspect
import math
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from atlas.errors import AtlasError
from atlas.rewards.exchange import Exchange, TeachingScorer
from atlas.types import Score, Task

_TAKES = ("task", "answer", "teaching", "approach", "baseline")
_SHOWN = 60


def load_reward(name: str, allowed: Collection[str]) -> TeachingScorer:
    """Return the user's function as a scorer of teachings.

    Args:
        name: ``module.function``; the working directory is a place to import from.
        allowed: Names that the command line allows; nothing is imported for any other.

    Raises:
        AtlasError: It isn't allowed, isn't there, or takes something that there is not.
    """
    if name not in allowed:
        raise AtlasError(
            f"reward_function '{name}' is code of your own and runs only if you allow it on the "
            f"command line: 'allow_targets=[{name}]'"
        )
    function = _import(name)
    takes = _arguments(name, function)

    def scorer(exchanges: Sequence[Exchange]) -> list[Score]:
        return [_score(name, function, takes, exchange) for exchange in exchanges]

    return scorer


def _import(name: str) -> Callable[..., Any]:
    module, _, function = name.rpartition(".")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as error:
        raise AtlasError(
            f"reward_function '{name}' can't be imported: {type(error).__name__}: {error}"
        ) from error
    finally:
        sys.path.remove(here)
    if not callable(found):
        raise AtlasError(f"reward_function '{name}' is no function")
    return found


def _arguments(name: str, function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names that it takes, of those that there are."""
    parameters = inspect.signature(function).parameters.values()
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    unknown = [p.name for p in named if p.name not in _TAKES and p.default is p.empty]
    if unknown or not named:
        raise AtlasError(
            f"reward_function '{name}' must take some of {', '.join(_TAKES)}"
            + (f", not '{unknown[0]}'" if unknown else "")
        )
    return tuple(p.name for p in named if p.name in _TAKES)


def _score(
    name: str, function: Callable[..., Any], takes: Sequence[str], exchange: Exchange
) -> Score:
    given = {
        "task": exchange.task,
        "answer": exchange.attempt,
        "teaching": exchange.teaching,
        "approach": exchange.approach,
        "baseline": exchange.baseline,
    }
    try:
        found = function(**{argument: given[argument] for argument in takes})
    except Exception as error:
        raise AtlasError(
            f"reward_function '{name}' failed on {_named(exchange.task)}: "
            f"{type(error).__name__}: {error}"
        ) from error
    score = _checked(found)
    if score is None:
        shown = f"{type(found).__name__} {str(found)[:_SHOWN]!r}"
        raise AtlasError(
            f"reward_function '{name}' returned {shown} for {_named(exchange.task)}; it must "
            "return a finite number, a Score of such, or None"
        )
    return score


def _checked(found: object) -> Score | None:
    """Return what was returned as a score, None where it is none."""
    if found is None:
        return Score(value=None, reason="the function abstained")
    if isinstance(found, Score):
        values = [found.value, *found.parts.values()]
        good = all(value is None or _is_finite(value) for value in values)
        return found if good else None
    return Score(value=float(found)) if _is_finite(found) else None  # type: ignore[arg-type]


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _named(task: Task) -> str:
    return f"task {task.id} ('{task.question[:_SHOWN]}')"
