"""Text that may be shown."""

from __future__ import annotations

import pytest

from atlas.errors import AtlasError, OutageError, printable


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


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("a \n\n\tb ", "a b"),
        ("bad\r\nname\u2028\x1b[31m", "bad\\r name\\u2028\\x1b[31m"),
        ("two  blanks", "two  blanks"),
    ],
)
def test_an_error_is_one_line_whatever_it_quotes(message: str, line: str) -> None:
    assert str(AtlasError(message)) == str(OutageError(message)) == line


def test_a_long_error_keeps_its_beginning_and_its_end() -> None:
    line = str(AtlasError(f"file: {'x' * 100_000}; mend it"))
    assert len(line) < 4100
    assert line.startswith("file: x")
    assert line.endswith("x; mend it")
