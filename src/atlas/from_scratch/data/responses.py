"""Responses of different quality to a task: what is ranked for a model from random weights.

Input: a `Task`, the answers of other tasks, a source of chance. Output: K different texts, each
with the kind that it was written as. What a text is worth is not decided here but by the task's
own verifier: a plan that ignores precedence comes out right where there is no product.

Families that `working` reads are worked step by step; for any other, only the answer is known.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from reasoning_gym.arithmetic.leg_counting import ANIMALS

from atlas.errors import AtlasError
from atlas.from_scratch.data import working
from atlas.types import Task

Kind = Literal["short", "wrong", "near miss", "long", "malformed"]

KINDS: tuple[Kind, ...] = ("short", "wrong", "near miss", "long", "malformed")
"""In the order in which they are asked for: few responses are a right one and a wrong one."""

_OPENINGS = (
    "Let me work this step by step.",
    "I will take this slowly.",
    "First I read the task again.",
    "This needs some care.",
)
_CHECKS = (
    "To be sure, I check it once more.",
    "Let me go over it again.",
    "I do not trust this yet, so I repeat it.",
)
_SHORT = ("", "It is {answer}. ", "This gives {answer}. ", "So it is {answer}. ")
_TRIES = 40


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    """One text and what it was written as."""

    kind: Kind
    text: str


def write_responses(
    task: Task, other_answers: Sequence[str], count: int, rng: random.Random
) -> list[Response]:
    """Write ``count`` different responses, of the kinds in `KINDS` in turn.

    Args:
        other_answers: Answers of other tasks of the family, for wrong ones.
        count: K, 2 to 16.

    Raises:
        AtlasError: So many different responses can't be written.
    """
    found: dict[str, Response] = {}
    for place in range(count):
        kind = KINDS[place % len(KINDS)]
        plain = place < len(KINDS)
        texts = (_write(task, other_answers, kind, rng, plain=plain) for _ in range(_TRIES))
        text = next((text for text in texts if text not in found), None)
        if text is None:
            raise AtlasError(
                f"no {count} different responses to {task.question!r} can be written; "
                "lower --responses-per-prompt"
            )
        found[text] = Response(kind=kind, text=text)
    return list(found.values())


def _write(
    task: Task, other_answers: Sequence[str], kind: Kind, rng: random.Random, *, plain: bool
) -> str:
    """Write one text; ``plain`` as briefly as its kind allows, where steps can be shown."""
    work = _worked(task, right=kind != "wrong", rng=rng)
    answer = task.answer if work is None else work.answer
    if kind == "wrong" and work is None:
        answer = rng.choice([a for a in other_answers if a != task.answer] or [f"not {answer}"])
    if kind == "near miss":
        answer = _nearly(answer, rng)
        work = work and work.ending_in(answer)
    lines = work.lines if work else ()
    if kind == "long":
        again = [*lines, rng.choice(_CHECKS), *lines]
        return _joined(rng.choice(_OPENINGS), *again, "Both ways agree.", f"Answer: {answer}")
    if kind == "malformed":
        return _broken_off(lines, answer, rng, plain=plain)
    closing = "" if lines and plain else rng.choice(_SHORT).format(answer=answer)
    return _joined(*lines, f"{closing}Answer: {answer}")


@dataclass(frozen=True, slots=True)
class _Work:
    """The steps of a problem, each a line, and what they come to."""

    lines: tuple[str, ...]
    answer: str

    def ending_in(self, answer: str) -> _Work:
        """Return the same steps with a slip in the last one."""
        last = f"{self.lines[-1].rpartition('= ')[0]}= {answer}."
        return _Work((*self.lines[:-1], last), answer)


def _worked(task: Task, *, right: bool, rng: random.Random) -> _Work | None:
    """Work a task, rightly or as those do who plan badly; None for a family that isn't read."""
    if task.family not in working.FAMILIES:
        return None
    problem = working.read_problem(task)
    legs = [ANIMALS[animal] for animal in problem.animals] or None
    steps = working.plan_steps(problem, working.by_precedence(problem), legs)
    written, result = working.work_steps(steps)
    if not right:
        truth = result
        for _ in range(_TRIES):
            written, result = working.work_steps(_badly_planned(problem, rng))
            if result != truth:
                break
    return _Work(tuple(f"{step}." for step in written), str(result))


def _badly_planned(problem: working.Problem, rng: random.Random) -> list[working.Step]:
    """Return the steps of someone who guesses legs and orders and mistakes an operator."""
    legs = [rng.choice([2, 4, 6, 8]) for _ in problem.animals] or None
    steps = working.plan_steps(problem, working.random_order(problem, rng), legs)
    if not legs and rng.random() < 0.5:
        at = rng.randrange(len(steps))
        a, _, b = steps[at]
        steps[at] = (a, rng.choice("+-*"), b)
    return steps


def _nearly(answer: str, rng: random.Random) -> str:
    """Return an answer that differs in one place: a digit by one, else a character."""
    digits = [match.start() for match in re.finditer(r"\d", answer)]
    if digits:
        at = rng.choice(digits)
        digit = (int(answer[at]) + rng.choice([1, 9])) % 10
        return f"{answer[:at]}{digit}{answer[at + 1 :]}"
    at = rng.randrange(len(answer))
    return f"{answer[:at]}{rng.choice('abcdefgh')}{answer[at + 1 :]}"


def _broken_off(lines: Sequence[str], answer: str, rng: random.Random, *, plain: bool) -> str:
    """Return a text without a final answer: the steps up to some place, or hesitation."""
    if lines:
        kept = list(lines[: rng.randint(1, len(lines))])
        kept[-1] = kept[-1].rpartition("=")[0].strip() + " ="
        return _joined("" if plain else rng.choice(_OPENINGS), *kept)
    word = rng.choice(("Answer", "Answer:", "The answer", "It is either", "I think"))
    cut = answer[: rng.randint(0, max(0, len(answer) - 1))]
    return _joined(rng.choice(("", *_OPENINGS)), word if word == "Answer:" else f"{word} {cut}")


def _joined(*parts: str) -> str:
    return " ".join(part.strip() for part in parts if part.strip())
