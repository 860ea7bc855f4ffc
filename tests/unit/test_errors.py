"""Text that may be shown."""

from __future__ import annotations

import pytest

from atlas.errors import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\nc – “é” 👩\u200d🔬", "a\tb\nc – “é” 👩\u200d🔬"),
        ("\x1b]0;pwn\x07\x1b[31m", "\\x1b]0;pwn\\x07\\x1b[31m"),
        ("over\rwritten", "over\\rwritten"),
        ("\x9b31m", "\\x9b31m"),
        ("abc\u202egpj.exe", "abc\\u202egpj.exe"),
        ("half \ud83d", "half \\ud83d"),
    ],
)
def test_what_acts_on_a_terminal_becomes_visible(text: str, shown: str) -> None:
    assert printable(text) == shown
