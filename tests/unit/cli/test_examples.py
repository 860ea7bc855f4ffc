"""The ends of the helps: what they name is there, and no command lacks one."""

from __future__ import annotations

import pytest
from tests.test_docs import wrong_commands
from typer.testing import CliRunner

from atlas.cli.app import COMMANDS, app
from atlas.cli.examples import EXAMPLES, FILES, MAIN_KEYS, epilog
from atlas.config import JOBS
from atlas.config.grammar.compose import job_of
from atlas.config.grammar.schema import keys_of


def test_every_command_has_examples_and_they_are_right() -> None:
    assert list(EXAMPLES) == list(COMMANDS)
    lines = "\n".join(line for lines in EXAMPLES.values() for line in lines)
    assert wrong_commands(f"```sh\n{lines}\n```\n") == []


@pytest.mark.parametrize("command", FILES)
def test_files_are_for_the_command_and_keys_are_its_job_s(command: str) -> None:
    job = command.replace("-", "_")
    assert {job_of(name, []) for name in FILES[command]} == {job}
    assert [key for key in MAIN_KEYS[command] if key not in keys_of(JOBS[job])] == []


@pytest.mark.parametrize("columns", ["60", "80"])
def test_help_shows_them_each_on_a_line(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    shown = CliRunner().invoke(app, ["grpo", "--help"]).output
    for line in EXAMPLES["grpo"]:
        assert f"  {line}\n" in shown
    assert "teacher_rcl" in shown
    assert "  All of them: atlas keys grpo\n" in shown
    assert epilog("grpo").startswith("\b\nExamples:")
