"""Word problems: the answer is that of the numbers in the words, and there are enough of each."""

from __future__ import annotations

import random

import pytest

from atlas.data.tasks import check_family, make_tasks, mixed_tasks
from atlas.data.word_problems import WORD_PROBLEMS
from atlas.rewards.verifiers import accepts_reference


@pytest.mark.parametrize("family", WORD_PROBLEMS)
def test_answers_are_accepted_and_questions_enough(family: str) -> None:
    check_family(family)
    held_out = make_tasks(family, 80, seed=0, split="held_out")
    seen = make_tasks(family, 400, seed=0)
    assert len({task.question for task in [*held_out, *seen]}) == 480
    assert [accepts_reference(task) for task in held_out[:5]] == [None] * 5
    assert {task.family for task in seen} == {family}


@pytest.mark.parametrize("family", WORD_PROBLEMS)
def test_the_numbers_of_the_question_make_the_answer(family: str) -> None:
    rng = random.Random(0)
    for _ in range(50):
        task = WORD_PROBLEMS[family](rng)
        first, second = (int(word) for word in task.question.split() if word.isdigit())
        assert int(task.answer) == first * second


def test_a_mix_of_ours_and_of_reasoning_gym() -> None:
    tasks = mixed_tasks(("boxes", "chain_sum"), 10, seed=0)
    assert sorted({task.family for task in tasks}) == ["boxes", "chain_sum"]
    assert tasks == mixed_tasks(("boxes", "chain_sum"), 10, seed=0)
