"""The border between a plan and an answer in disguise; the recorded cases are in test_leaks."""

from __future__ import annotations

import pytest

from atlas.rewards.leaks.arithmetic import find_arithmetic

LEGS = "how many legs do 3 dogs and 2 ants have?"


@pytest.mark.parametrize(
    ("answer", "question", "said"),
    [
        # 1: only the task's own numbers
        ("14", "calculate 2 + 3 * 4.", "3 * 4 + 2"),
        # 2: factors of its own, with every number of the task
        ("24", LEGS, "3 * 4 + 2 * 6"),
        ("14", "from 5 to 18, both counted?", "18 - 5 + 1"),
        ("5", "the mean of 4, 5 and 6?", "(4 + 5 + 6) / 3"),
        # 3: another way round
        ("135", "98 + 37", "98 + 2 + 37 - 2"),
        # 4: a wrong plan that comes out right
        ("42", "legs of 2 mantises and 5 grasshoppers?", "5 * 6 + 3 * 4"),
        # it comes to something else
        ("14", "calculate 2 + 3 * 4.", "10 + 5"),
        # no number to be found
        ("paris", "the capital?", "10 + 4"),
        ("1/0", "?", "1 + 0"),
    ],
)
def test_plans(answer: str, question: str, said: str) -> None:
    assert find_arithmetic(answer, question, said) is None


@pytest.mark.parametrize(
    ("answer", "question", "said", "found"),
    [
        ("14", "calculate 2 + 3 * 4.", "10 + 4", "10 4"),
        ("24", LEGS, "20 + 4", "20 4"),
        ("24", LEGS, "3 * 8", "3 8"),
        # the task's numbers are there, and don't matter
        ("24", LEGS, "20 + 4 + 3 * 0 + 2 * 0", "20 4 3 0 2 0"),
        ("-4", "calculate 3 - 7.", "6 - 10", "6 10"),
        ("0.5", "calculate 1 / 2.", "3 / 6", "3 6"),
        ("3/4", "calculate 1 / 2 + 1 / 4.", "6 / 8", "6 8"),
        ("33.33", "calculate 100 / 3, rounded.", "66.66 / 2", "66.66 2"),
    ],
)
def test_answers_in_disguise(answer: str, question: str, said: str, found: str) -> None:
    assert find_arithmetic(answer, question, said) == found
