"""Nothing that is printed acts on the terminal."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from atlas.cli.terminal import StageLines, console, say, show_table, working
from atlas.errors import OwnCodeError
from atlas.run.run_dir import RunDir

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
    assert "stage       1/1  " in out  # no bars where nothing can be redrawn
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


def test_a_pipe_gets_a_line_at_the_first_unit_every_so_often_and_at_the_end() -> None:
    written: list[str] = []
    now = 0.0
    stage = StageLines("grpo", written.append, seconds=30, clock=lambda: now)
    stage.begin(40, done=10)
    for step in range(11, 41):
        now += 4
        stage.advance(note=f"uplift {step}")
    assert written == [
        "grpo        11/40  uplift 11  ETA 0:01:56",
        "grpo        19/40  uplift 19  ETA 0:01:24",
        "grpo        27/40  uplift 27  ETA 0:00:52",
        "grpo        35/40  uplift 35  ETA 0:00:20",
        "grpo        40/40  uplift 40  done in 0:02:00",
    ]


def test_the_log_keeps_the_traceback_of_a_users_own_function(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", "grpo")

    def fail() -> None:
        try:
            raise KeyError("mine")
        except KeyError as error:
            raise OwnCodeError("reward_function failed") from error

    with pytest.raises(OwnCodeError), working("Go on.", run):
        fail()
    log = run.log.read_text()
    assert "grpo  ended: reward_function failed\nTraceback" in log
    assert log.endswith("KeyError: 'mine'\n")
