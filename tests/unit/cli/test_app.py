"""How a command starts: what it loads before it answers, and the names that there are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import atlas
from atlas.cli.app import COMMANDS, app
from atlas.environments.teaching import one_lesson
from atlas.types import Lesson, Task, Utterance

HEAVY = ("torch", "transformers", "datasets", "openai", "reasoning_gym", "sympy", "pyarrow", "peft")
SLOW = (*HEAVY, "rich", "hydra", "omegaconf", "yaml", "numpy", "jinja2", "psycopg")
"""What no help needs."""

_PROBE = """
import json, sys
from atlas.cli import faults
from atlas.cli.app import app
loaded = {}
for words in json.loads(sys.argv[1]):
    try:
        faults.run(app, words)
    except SystemExit as ended:
        slow = [name for name in json.loads(sys.argv[2]) if name in sys.modules]
        loaded[" ".join(words)] = [ended.code, *slow]
sys.stderr.write("\\n" + json.dumps(loaded))
"""


def loaded_by(commands: list[list[str]], names: tuple[str, ...], folder: Path) -> dict[str, list]:
    """Run commands in one process; return exit code and what is loaded, after each."""
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, json.dumps(commands), json.dumps(names)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stderr.splitlines()[-1])


def test_help_of_every_command_loads_nothing_slow(tmp_path: Path) -> None:
    more = [["--version"], ["review", "list", "--help"], ["review", "approve", "--help"]]
    commands = [["--help"], *([name, "--help"] for name in COMMANDS), *more]
    loaded = loaded_by(commands, SLOW, tmp_path)
    assert loaded == {" ".join(words): [0] for words in commands}


def test_a_command_is_imported_alone(tmp_path: Path) -> None:
    names = tuple(f"atlas.cli.{module}" for module in COMMANDS.values())
    assert loaded_by([["report", "--help"]], names, tmp_path) == {
        "report --help": [0, "atlas.cli.report"]
    }


def test_refusals_load_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "there.jsonl").touch()
    given = ["data=runtime_traces", "export_path=there.jsonl"]
    gone = str(tmp_path / "gone")
    commands = [
        ["sft", "teacher_sft", "bta=1"],
        ["sft", "teacher_stf"],
        ["sft", "teacher_sft", "data=runtime_traces", "export_path=gone.jsonl"],
        ["sft", "teacher_sft", *given, f"model_name_or_path={gone}"],
        ["grpo", "teacher_rcl", "trainer=nope"],
        ["quickstart", "seed=x"],
        ["train", "teacher_sft", "bta=1"],
        ["launch", "2", "teacher_sft", "bta=1"],
        ["evaluate", gone],
        ["teach", "?", "--teacher", gone],
        ["teach", "?"],
        ["collect", "tasks=gone.jsonl"],
        ["ranked", "--config", "gone.json"],
        ["prepare-data", "--source", "nope"],
        ["prepare-data", "--source", "jsonl", "--path", "gone.json"],
        ["report", gone],
        ["doctor", gone],
        ["lineage", gone],
        ["export", "--output", "t.jsonl", "--database-url", gone],
        ["review", "list", "--database-url", gone],
        ["ask", gone, "?"],
        ["base-model", "bta=1"],
    ]
    loaded = loaded_by(commands, HEAVY, tmp_path)
    assert loaded == {" ".join(words): [2] for words in commands}
    assert [path.name for path in tmp_path.iterdir()] == ["there.jsonl"]


@pytest.mark.parametrize("asked", [False, True])
def test_thoughts_are_printed_where_asked_for(
    asked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teaching = Utterance(text="Add A.", thoughts="20?")
    lesson = Lesson(task=Task(question="?", answer="", family=""), teaching=teaching)
    monkeypatch.setattr(one_lesson, "give_lesson", lambda *_, **__: lesson)
    words = ["teach", "?", "--teacher", str(tmp_path), *(["--thoughts"] if asked else [])]
    said = CliRunner().invoke(app, words).output
    assert "Add A." in said
    assert ("20?" in said) is asked


def test_the_version_is_the_package_s() -> None:
    assert CliRunner().invoke(app, ["--version"]).output == f"atlas {atlas.__version__}\n"


def test_a_mistyped_command_is_told_the_nearest() -> None:
    refused = CliRunner().invoke(app, ["quikstart"])
    assert (refused.exit_code, "Did you mean 'quickstart'?" in refused.output) == (2, True)


def test_commands_are_listed_in_the_order_of_the_work_with_all_of_their_words() -> None:
    lines = CliRunner().invoke(app, ["--help"]).output.split("Commands:\n")[1]
    assert [line.split()[0] for line in lines.splitlines() if line[2:3].strip()] == [*COMMANDS]
    assert "..." not in lines
    assert "grpo_offline" not in lines


@pytest.mark.parametrize(("shell", "words"), [("bash", "complete_bash"), ("zsh", "complete_zsh")])
def test_commands_are_completed(shell: str, words: str) -> None:
    environment = {
        "_ATLAS_COMPLETE": words,
        "COMP_WORDS": "atlas quick",
        "COMP_CWORD": "1",
        "_TYPER_COMPLETE_ARGS": "atlas quick",
    }
    done = CliRunner().invoke(app, [], prog_name="atlas", env=environment)
    assert "quickstart" in done.output
