"""Text that may be shown."""

from __future__ import annotations

import pytest

from atlas.errors import mask_secrets, printable


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
    ("line", "masked"),
    [
        ("db_url: postgresql://me:pa55@host/db", "db_url: postgresql://me:***@host/db"),
        ("db_url: postgresql://:pa55@host/db", "db_url: postgresql://:***@host/db"),
        ("  judge_api_key: sk-1", "  judge_api_key: ***"),
        ("db_url: postgresql://me:p@a/5@host/db", "db_url: postgresql://me:***@host/db"),
        ("judge_api_key=sk-1", "judge_api_key=***"),
        ("host=h password=pa55", "host=h password=***"),
        ("hf_token: abc", "hf_token: ***"),
        ("max_new_tokens: 512", "max_new_tokens: 512"),
        ("base_url: http://localhost:8000/v1", "base_url: http://localhost:8000/v1"),
    ],
)
def test_secrets_of_any_kind_are_masked(line: str, masked: str) -> None:
    assert mask_secrets(f"seed: 1\n{line}\nbeta: 2") == f"seed: 1\n{masked}\nbeta: 2"
