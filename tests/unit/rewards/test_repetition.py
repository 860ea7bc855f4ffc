"""Texts that go round in circles, and those that only look like it."""

from __future__ import annotations

import pytest

from atlas.rewards.repetition import loops, repetition


def test_the_share_of_repeated_phrases_by_hand() -> None:
    # a b c d | b c d a | c d a b | d a b c | a b c d: five phrases, four different
    assert repetition("a b c d a b c d") == pytest.approx(1 / 5)
    assert repetition("a b c") == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "A = 2 + 3. " * 6,
        "Start well. " + "no " * 8,
        "Think. Add the two and then go on. Add the two and then go on. Add the two and then go on."
        " Add the two and then go on.",
        "so " + "very " * 4,
        "the plan is the plan is the plan is the plan is the pl" + " the plan is" * 5,
    ],
)
def test_loops(text: str) -> None:
    assert loops(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A = 7 - 3. B = A + 5. C = B - 2. D = C + 8. Answer D.",
        "A = 1 + 1. B = A + 1. C = B + 1. D = C + 1. E = D + 1. Answer E.",
        "Add 2, add 2, add 2. Answer.",
        "Wait...... then go on ----",
        "No, no, no. Add first.",
    ],
)
def test_honest_texts(text: str) -> None:
    assert not loops(text)
