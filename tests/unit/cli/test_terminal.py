"""Nothing that is printed acts on the terminal."""

from __future__ import annotations

import io
import sys

import pytest

from atlas.cli.terminal import console, say, show_table, working

HOSTILE = "a\x1b]0;pwn\x07\x1b[31m\rb"
SHOWN = "a\\x1b]0;pwn\\x07\\x1b[31m\\rb"


def test_lines_and_tables_and_notes_show_escape_sequences(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    console.cache_clear()
    say(HOSTILE, lead=HOSTILE, bold=True)
    show_table("title", ("one",), [(HOSTILE,), ("[bold]no markup[/bold]",)])
    with working("Go on.") as (_, bar_of):
        bar = bar_of("stage")
        bar.begin(1)
        bar.advance(note=HOSTILE)
        bar.say(HOSTILE)
    console.cache_clear()
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\r" not in out
    assert out.count(SHOWN) == 5
    assert "[bold]no markup[/bold]" in out


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("no_color", "shown"), [("", "\x1b[1ma\x1b[0m: b\n"), ("1", "a: b\n")])
def test_only_a_terminal_that_wants_colours_gets_them(
    monkeypatch: pytest.MonkeyPatch, no_color: str, shown: str
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr(sys, "stdout", Terminal())
    say(": b", lead="a", bold=True)
    assert sys.stdout.getvalue() == shown  # type: ignore[attr-defined]
