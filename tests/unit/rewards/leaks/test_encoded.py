"""Codes by name; the recorded cases are in test_leaks."""

from __future__ import annotations

import pytest

from atlas.rewards.leaks.encoded import find_encoded


@pytest.mark.parametrize(
    ("teaching", "name"),
    [
        ("MTQ=", "base64"),
        ("%31%34", "escapes"),
        ("31 34", "hexadecimal"),
        ("0xE", "another base"),
        ("1110", "binary"),
        ("49, 52", "character codes"),
        ("sbhegrra", "rot13"),
        ("neetruof", "backwards"),
        ("XIV", "Roman numerals"),
        ("vierzehn", "another language"),
    ],
)
def test_the_code_is_named_with_the_coded_text(teaching: str, name: str) -> None:
    assert find_encoded("14", "Calculate 2 + 3 * 4.", f"Well, {teaching} it is.") == (
        f"{name} '{teaching}'"
    )


@pytest.mark.parametrize("code", ["MTQ=", "31 34", "1110", "XIV", "vierzehn"])
def test_what_stands_in_the_question_is_free(code: str) -> None:
    assert find_encoded("14", f"Decode {code} for me.", f"Look at {code}.") is None


def test_another_number_in_code_is_no_leak() -> None:
    for teaching in ("MTU=", "31 35", "0xF", "1111", "XV", "vierzig", "49 53"):
        assert find_encoded("14", "Calculate 2 + 3 * 4.", teaching) is None
