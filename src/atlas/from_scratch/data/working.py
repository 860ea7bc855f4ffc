"""How a problem is worked: plans, their execution, and tries without a plan.

Input: a `Task` of one of the base model's families. Output: the texts that people of mixed skill
might write about it. Nothing here looks at the reference answer: right and wrong plans are
executed alike, and what comes out is what the steps give.

A *plan* names every intermediate result and computes none::

    Calculate 5 - 3 + 6 * 2.   ->   A = 6 * 2. B = 5 - 3. C = B + A. Answer C.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from reasoning_gym.arithmetic.leg_counting import ANIMALS

from atlas.errors import AtlasError
from atlas.types import Task

Operand = int | str
Step = tuple[Operand, str, Operand]

_APPLY: Mapping[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
}
_NAMES = "ABCDEFGH"

FAMILIES = ("basic_arithmetic", "chain_sum", "leg_counting")
"""The families whose problems are read and worked here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """A chain ``numbers[0] operators[0] numbers[1] ...``, or groups of animals to count legs of."""

    numbers: tuple[int, ...]
    operators: tuple[str, ...]
    animals: tuple[str, ...] = ()
    """One per number; empty for a chain."""


def read_problem(task: Task) -> Problem:
    """Read the problem off a task's question.

    Raises:
        AtlasError: the family is not one that this module can work.
    """
    if task.family == "leg_counting":
        pairs = re.findall(r"(\d+) ([a-z ]+?)s?(?=,|\?)", task.question)
        animals = tuple(name if name in ANIMALS else f"{name}s" for _, name in pairs)
        counts = tuple(int(count) for count, _ in pairs)
        return Problem(numbers=counts, operators=("+",) * (len(counts) - 1), animals=animals)
    if task.family in ("basic_arithmetic", "chain_sum"):
        chain = re.findall(r"\d+|[-+*]", task.question)
        return Problem(numbers=tuple(map(int, chain[::2])), operators=tuple(chain[1::2]))
    raise AtlasError(
        f"the corpus of the base model can't work tasks of family '{task.family}'; "
        f"it knows {', '.join(FAMILIES)}"
    )


def left_to_right(problem: Problem) -> list[int]:
    """Order of operators (positions) that ignores precedence."""
    return list(range(len(problem.operators)))


def right_to_left(problem: Problem) -> list[int]:
    """Order of operators (positions), last first."""
    return left_to_right(problem)[::-1]


def by_precedence(problem: Problem) -> list[int]:
    """Order of operators (positions): products first, then from left to right."""
    return sorted(left_to_right(problem), key=lambda i: problem.operators[i] != "*")


def random_order(problem: Problem, rng: random.Random) -> list[int]:
    """Any order of operators (positions)."""
    return rng.sample(left_to_right(problem), len(problem.operators))


def plan_steps(
    problem: Problem, order: Sequence[int], legs: Sequence[int] | None = None
) -> list[Step]:
    """Turn an order of operators into named steps.

    Args:
        order: operator positions, first to be done first.
        legs: legs of each animal, where the problem has animals.
    """
    nodes: list[Operand] = list(problem.numbers)
    steps: list[Step] = []
    for i, count in enumerate(problem.numbers if legs else ()):
        nodes[i] = _NAMES[len(steps)]
        steps.append((count, "*", (legs or ())[i]))
    alive = list(range(len(problem.operators)))
    for position in order:
        i = alive.index(position)
        step = (nodes[i], problem.operators[position], nodes[i + 1])
        nodes[i : i + 2] = [_NAMES[len(steps)]]
        steps.append(step)
        alive.pop(i)
    return steps


def write_plan(steps: Sequence[Step]) -> str:
    """Write a plan: every step, no result."""
    written = [f"{name} = {a} {op} {b}." for name, (a, op, b) in zip(_NAMES, steps, strict=False)]
    return " ".join([*written, f"Answer {_NAMES[len(steps) - 1]}."])


def execute_plan(steps: Sequence[Step]) -> str:
    """Work a plan step by step, as written, right or wrong."""
    values: dict[str, int] = {}
    lines = []
    for name, (a, op, b) in zip(_NAMES, steps, strict=False):
        x, y = (values[v] if isinstance(v, str) else v for v in (a, b))
        values[name] = _APPLY[op](x, y)
        copied = "" if (a, b) == (x, y) else f"{x} {op} {y} = "
        lines.append(f"{name} = {a} {op} {b} = {copied}{values[name]}.")
    return " ".join([*lines, f"Answer: {values[_NAMES[len(steps) - 1]]}"])


def work_try(
    problem: Problem, order: Sequence[int], legs: Sequence[int] | None = None
) -> tuple[str, int]:
    """Work the problem once, without names. Returns the text and the result."""
    written, result = work_steps(plan_steps(problem, order, legs))
    return f"Try: {', '.join(written)}.", result


def work_steps(steps: Sequence[Step]) -> tuple[list[str], int]:
    """Work named steps, without their names. Returns ``2 + 12 = 14`` of each, and the result."""
    values: dict[str, int] = {}
    written = []
    for name, (a, op, b) in zip(_NAMES, steps, strict=False):
        x, y = (values[v] if isinstance(v, str) else v for v in (a, b))
        values[name] = _APPLY[op](x, y)
        written.append(f"{x} {op} {y} = {values[name]}")
    return written, values[_NAMES[len(steps) - 1]]


def believed_legs(problem: Problem, rng: random.Random, *, share_known: float) -> list[int] | None:
    """Return the legs that someone believes each animal has; None for a chain.

    Args:
        share_known: probability that all are right; otherwise four legs are assumed for each.
    """
    if not problem.animals:
        return None
    known = rng.random() < share_known
    return [ANIMALS[animal] if known else 4 for animal in problem.animals]
