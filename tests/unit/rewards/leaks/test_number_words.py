from __future__ import annotations

import pytest

from atlas.rewards.leaks.number_words import digit_words_to_digits, number_words_to_digits


@pytest.mark.parametrize(
    ("words", "digits"),
    [
        ("zero", "0"),
        ("seven", "7"),
        ("seventeen", "17"),
        ("seventy", "70"),
        ("seventy-seven", "77"),
        ("seventy\nseven", "77"),
        ("seventy seventeen", "70 17"),
        ("one hundred", "100"),
        ("a hundred", "100"),
        ("nine hundred and ninety-nine", "999"),
        ("fourteen hundred six", "1406"),
        ("two thousand", "2000"),
        ("a thousand and one", "1001"),
        ("twenty-one thousand, three hundred and five", "21305"),
        ("one four", "1 4"),
        ("two and three", "2 and 3"),
        ("three, four", "3, 4"),
        ("twenty and four", "20 and 4"),
        ("six minus four", "6 - 4"),
        ("minus 4", "- 4"),
        ("negative forty", "-40"),
        ("minus the cost", "minus the cost"),
        ("someone, tenth, weight, often, a cat", "someone, tenth, weight, often, a cat"),
    ],
)
def test_number_words(words: str, digits: str) -> None:
    assert number_words_to_digits(words) == digits


def test_a_bare_one_may_stay_a_pronoun() -> None:
    text = "one by one, twenty-one and one hundred"
    assert number_words_to_digits(text, bare_one=False) == "one by one, 21 and 100"


def test_digit_words() -> None:
    assert digit_words_to_digits("one four, fourteen, forty, zero") == "1 4, fourteen, forty, 0"
