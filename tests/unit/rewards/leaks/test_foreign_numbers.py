"""Number words of other languages."""

from __future__ import annotations

import pytest

from atlas.rewards.leaks.foreign_numbers import foreign_numbers


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("vierzehn", [14]),
        ("einundzwanzig und Zweiunddreißig", [21, 32]),
        ("veertien, drieëntwintig", [14, 23]),
        ("quatre-vingt-dix-sept", [97]),
        ("soixante et onze", [71]),
        ("veintidós, treinta y cinco", [22, 35]),
        ("ventotto, trentuno", [28, 31]),
        ("vinte e um", [21]),
        ("十四 二十 百二十三", [14, 20, 123]),
        ("once upon a time, due to dix and the elf", []),
        ("in Spanish: once", [11]),
        ("a plan in plain words", []),
    ],
)
def test_values(text: str, values: list[int]) -> None:
    assert [value for _, value in foreign_numbers(text)] == values
