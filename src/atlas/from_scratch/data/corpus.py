"""What the base model is trained on: dialogues of mixed quality about reasoning-gym tasks.

Input: a `Task` and a source of chance. Output: `Dialogue`s of four kinds, those of the dual-agent
loop: a student alone, its approach, a teacher's plan, a student with a plan.

The corpus decides what the base is good and bad at, as web text does for a large model:

- with a plan, the student in the corpus works it faithfully, right or wrong;
- without one it guesses an order (mostly left to right), tries again until two tries in a row
  agree, and often doesn't come to an end;
- teachers in the corpus plan carelessly: only about a quarter follow precedence and recall the
  legs; the others ignore precedence, take four legs for every animal, slip, give empty advice or
  the bare answer. Careless plans come out right where order doesn't matter.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from reasoning_gym.arithmetic.leg_counting import ANIMALS

from atlas.from_scratch.data import working
from atlas.types import Task

Kind = Literal["baseline", "approach", "teaching", "attempt"]

EMPTY_ADVICE = (
    "Take your time.",
    "Check your work twice.",
    "Think before you start.",
    "You can do it.",
)
APPROACHES = {
    "left": "I go from left to right.",
    "right": "I go from right to left.",
    "any": "I try some orders.",
    "four": "I take four legs for each.",
    "recall": "I recall the legs of each.",
}
MAX_TRIES = 10

# How often a teacher of the corpus writes which kind of teaching.
TEACHERS: Mapping[str, float] = {
    "right": 0.24,
    "careless": 0.38,
    "random": 0.14,
    "slip": 0.08,
    "empty": 0.08,
    "answer": 0.08,
}
# The student meets right and wrong plans alike, so that it learns to follow and not to judge.
FOLLOWED: Mapping[str, float] = {
    "right": 0.45,
    "careless": 0.17,
    "random": 0.2,
    "slip": 0.1,
    "empty": 0.04,
    "answer": 0.04,
}
KINDS: Mapping[Kind, float] = {
    "baseline": 0.13,
    "approach": 0.03,
    "teaching": 0.28,
    "attempt": 0.56,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialogue:
    """One exchange: which prompt it answers, with what filled in, and the completion."""

    kind: Kind
    fields: Mapping[str, str]
    completion: str
    ended: bool = True
    """False: the text breaks off, and no end-of-sequence token is to be learned."""


def write_dialogue(task: Task, rng: random.Random) -> Dialogue:
    """Write one dialogue about a task, its kind drawn by `KINDS`."""
    kind = rng.choices(list(KINDS), weights=list(KINDS.values()))[0]
    problem = working.read_problem(task)
    if kind == "baseline":
        text, ended = work_alone(problem, rng)
        return Dialogue(kind=kind, fields={"task": task.question}, completion=text, ended=ended)
    if kind == "approach":
        text = write_approach(problem, rng)
        return Dialogue(kind=kind, fields={"task": task.question}, completion=text)
    if kind == "teaching":
        fields = {"task": task.question, "approach": write_approach(problem, rng)}
        teaching, _ = write_teaching(task, problem, TEACHERS, rng)
        return Dialogue(kind=kind, fields=fields, completion=teaching)
    teaching, steps = write_teaching(task, problem, FOLLOWED, rng)
    fields = {"task": task.question, "teaching": teaching}
    if steps:
        return Dialogue(kind=kind, fields=fields, completion=working.execute_plan(steps))
    if teaching in EMPTY_ADVICE:
        text, ended = work_alone(problem, rng)
        return Dialogue(kind=kind, fields=fields, completion=text, ended=ended)
    return Dialogue(kind=kind, fields=fields, completion=f"Answer: {task.answer}")


def work_alone(problem: working.Problem, rng: random.Random) -> tuple[str, bool]:
    """Write a student's work without a plan. Returns the text and whether it comes to an end."""
    written: list[str] = []
    last: int | None = None
    for attempt in range(MAX_TRIES):
        order = _guessed_order(problem, rng, attempt)
        legs = working.believed_legs(problem, rng, share_known=0.35)
        text, result = working.work_try(problem, order, legs)
        written.append(text)
        if result == last:
            return " ".join([*written, f"Answer: {result}"]), True
        last = result
    return " ".join(written), False


def write_approach(problem: working.Problem, rng: random.Random) -> str:
    """Write the one sentence in which a student says how it will go about it."""
    if problem.animals:
        return APPROACHES[rng.choices(["four", "recall"], weights=[65, 35])[0]]
    return APPROACHES[rng.choices(["left", "right", "any"], weights=[60, 20, 20])[0]]


def write_teaching(
    task: Task, problem: working.Problem, shares: Mapping[str, float], rng: random.Random
) -> tuple[str, list[working.Step]]:
    """Write a teaching of a kind drawn by ``shares``. Returns it with its steps, if it has any."""
    kind = rng.choices(list(shares), weights=list(shares.values()))[0]
    if kind == "empty":
        return rng.choice(EMPTY_ADVICE), []
    if kind == "answer":
        return f"The answer is {task.answer}.", []
    steps = _planned(problem, kind, rng)
    return working.write_plan(steps), steps


def _planned(problem: working.Problem, kind: str, rng: random.Random) -> list[working.Step]:
    known = [ANIMALS[animal] for animal in problem.animals] or None
    if kind == "careless":
        legs = [4 for _ in problem.animals] or None
        return working.plan_steps(problem, working.left_to_right(problem), legs)
    if kind == "random":
        legs = [rng.choice([0, 2, 4, 6, 8, 10]) for _ in problem.animals] or None
        return working.plan_steps(problem, working.random_order(problem, rng), legs)
    steps = working.plan_steps(problem, working.by_precedence(problem), known)
    return _slipped(steps, rng) if kind == "slip" else steps


def _slipped(steps: list[working.Step], rng: random.Random) -> list[working.Step]:
    """Spoil one step: another operator, or the operands the wrong way round."""
    i = rng.randrange(len(steps))
    a, op, b = steps[i]
    spoiled = (b, op, a) if rng.random() < 0.5 else (a, rng.choice("+-*"), b)
    return [*steps[:i], spoiled, *steps[i + 1 :]]


def _guessed_order(problem: working.Problem, rng: random.Random, attempt: int) -> list[int]:
    if attempt == 0 and rng.random() < 0.7:
        return working.left_to_right(problem)
    if attempt == 1 and rng.random() < 0.6:
        return working.right_to_left(problem)
    return working.random_order(problem, rng)
