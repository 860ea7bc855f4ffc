"""Problems read, planned and worked: right plans give right answers, wrong ones what they say."""

from __future__ import annotations

import random

import pytest
from reasoning_gym.arithmetic.leg_counting import ANIMALS

from atlas.data.tasks import make_tasks
from atlas.errors import AtlasError
from atlas.from_scratch.data import working
from atlas.from_scratch.data.working import Problem
from atlas.rewards.verifiers import verify
from atlas.types import Task

CHAIN = Problem(numbers=(5, 3, 6, 2), operators=("-", "+", "*"))
FARM = Problem(numbers=(3, 2), operators=("+",), animals=("bee", "chicken"))


def task(question: str, family: str) -> Task:
    return Task(question=question, answer="", family=family)


@pytest.mark.parametrize("family", ["basic_arithmetic", "chain_sum", "leg_counting"])
def test_right_plans_give_right_answers_and_what_problems_say_is_read(family: str) -> None:
    """100 tasks of each family, and every animal that there is."""
    for of in make_tasks(family, 100, seed=11):
        problem = working.read_problem(of)
        legs = [ANIMALS[animal] for animal in problem.animals] or None
        steps = working.plan_steps(problem, working.by_precedence(problem), legs)
        worked = working.execute_plan(steps)
        assert verify(of, worked).correct, (of.question, of.answer, worked)
        text, result = working.work_try(problem, working.by_precedence(problem), legs)
        assert str(result) == of.answer, text


def test_every_animal_is_read_from_its_wrong_plural() -> None:
    for animal in ANIMALS:
        question = f"Now, how many legs are there in total if you have 7 {animal}s, 12 cats?"
        problem = working.read_problem(task(question, "leg_counting"))
        assert problem == Problem(numbers=(7, 12), operators=("+",), animals=(animal, "cat"))


@pytest.mark.parametrize(
    ("question", "family"),
    [
        ("Calculate 5 - 3 + 6 * 2.", "basic_arithmetic"),
        (
            "State the final answer to the following arithmetic problem: 5 - 3 + 6 * 2 =",
            "chain_sum",
        ),
    ],
)
def test_chains_are_read(question: str, family: str) -> None:
    assert working.read_problem(task(question, family)) == CHAIN


def test_other_families_are_refused() -> None:
    with pytest.raises(AtlasError, match="can't work tasks of family 'sudoku'"):
        working.read_problem(task("1", "sudoku"))


def test_orders() -> None:
    assert working.left_to_right(CHAIN) == [0, 1, 2]
    assert working.right_to_left(CHAIN) == [2, 1, 0]
    assert working.by_precedence(CHAIN) == [2, 0, 1]
    orders = {tuple(working.random_order(CHAIN, random.Random(seed))) for seed in range(50)}
    assert len(orders) == 6


@pytest.mark.parametrize(
    ("order", "plan", "work", "tried"),
    [
        (
            [2, 0, 1],
            "A = 6 * 2. B = 5 - 3. C = B + A. Answer C.",
            "A = 6 * 2 = 12. B = 5 - 3 = 2. C = B + A = 2 + 12 = 14. Answer: 14",
            ("Try: 6 * 2 = 12, 5 - 3 = 2, 2 + 12 = 14.", 14),
        ),
        (
            [0, 1, 2],
            "A = 5 - 3. B = A + 6. C = B * 2. Answer C.",
            "A = 5 - 3 = 2. B = A + 6 = 2 + 6 = 8. C = B * 2 = 8 * 2 = 16. Answer: 16",
            ("Try: 5 - 3 = 2, 2 + 6 = 8, 8 * 2 = 16.", 16),
        ),
        (
            [2, 1, 0],
            "A = 6 * 2. B = 3 + A. C = 5 - B. Answer C.",
            "A = 6 * 2 = 12. B = 3 + A = 3 + 12 = 15. C = 5 - B = 5 - 15 = -10. Answer: -10",
            ("Try: 6 * 2 = 12, 3 + 12 = 15, 5 - 15 = -10.", -10),
        ),
    ],
)
def test_a_chain_by_hand(order: list[int], plan: str, work: str, tried: tuple[str, int]) -> None:
    """5 - 3 + 6 * 2, in the right order, from left to right and from right to left."""
    steps = working.plan_steps(CHAIN, order)
    assert working.write_plan(steps) == plan
    assert working.execute_plan(steps) == work
    assert working.work_try(CHAIN, order) == tried


def test_legs_by_hand() -> None:
    steps = working.plan_steps(FARM, [0], [6, 2])
    assert working.write_plan(steps) == "A = 3 * 6. B = 2 * 2. C = A + B. Answer C."
    assert working.execute_plan(steps) == (
        "A = 3 * 6 = 18. B = 2 * 2 = 4. C = A + B = 18 + 4 = 22. Answer: 22"
    )


def test_believed_legs() -> None:
    rng = random.Random(0)
    assert working.believed_legs(CHAIN, rng, share_known=0.5) is None
    assert working.believed_legs(FARM, rng, share_known=1.0) == [6, 2]
    assert working.believed_legs(FARM, rng, share_known=0.0) == [4, 4]
    known = [working.believed_legs(FARM, rng, share_known=0.35) == [6, 2] for _ in range(1000)]
    assert 300 < sum(known) < 400
