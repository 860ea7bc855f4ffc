"""Calculations in a text: what they come to, and which stand by themselves."""

from __future__ import annotations

from fractions import Fraction

import pytest

from atlas.rewards.leaks.expressions import calculations, leaves


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("2 + 3 * 4", [14]),
        ("(2 + 3) * 4", [20]),
        ("8 - 2 - 3", [3]),
        ("1 / 2 + 1 / 3", [Fraction(5, 6)]),
        ("2 ^ 3", [8]),
        ("a = 2 + 3. b = a * 4. answer b.", [20]),
        ("a = 2 + 3. a = 4 + 5. b = a + 1.", [5, 10]),
        ("a = 10. b = 4. c = a + b.", [14]),
        ("3 * 4 = 12. then 12 + 2.", [14]),
        ("3 * 4 = 13. then 13 + 2.", [12, 15]),
        ("add 3 and 4", [7]),
        ("subtract 3 from 4", [1]),
        ("take 3 away from 4", [1]),
        ("the sum of 3 and 4", [7]),
        ("5 more than 3", [8]),
        ("5 less than 8", [3]),
        ("3 times 4 minus 1", [11]),
        ("double 7", [14]),
        ("half of 28", [14]),
        ("7 squared", [49]),
        ("5 / 0", []),
        ("9 ^ 9 ^ 9", []),
        ("14", []),
        ("a b c + -", []),
        ("a plan: b + c", []),
    ],
)
def test_values(text: str, values: list[Fraction | int]) -> None:
    assert [found.value for found in calculations(text)] == values


def test_named_results_are_put_in() -> None:
    (found,) = calculations("a = 7 - 3. b = a + 5.")
    assert leaves(found.expression) == [7, 3, 5]
