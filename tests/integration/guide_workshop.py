"""Where the lines of the guides are run: one folder, in which both trainings are done once, tiny.

The literal words of a line go to the real command, in this process; what follows them makes it
small. What needs eight GPUs is planned for such ones (``--dry-run``), what needs a server of vLLM
is refused here in one line and runs in tests/serving.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
import yaml
from tests.unit.data.sources.recorded import recorded
from typer.testing import CliRunner

from atlas.cli.app import app, application
from atlas.cli.traces.arc import app as arc
from atlas.config import RunConfig, keys_of
from atlas.config.grammar.schema import convert
from atlas.errors import AtlasError
from atlas.traces.jsonl import write_jsonl

ROOT = Path(__file__).resolve().parents[2]

SMALL_DATA = ("data=runtime_traces", "export_path=traces/aime-batch.jsonl")
SMALL_SFT = ("model_name_or_path=base", *SMALL_DATA, "eval_split_ratio=0.2")
SMALL_GRPO = (
    "student_model=base",
    *SMALL_DATA,
    "max_steps=1",
    "num_generations=2",
    "gradient_accumulation_steps=2",
    "max_new_tokens=8",
    "max_clipped_share=1",
    "student_max_new_tokens=16",
    "approach_max_new_tokens=8",
)
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
"""What the guide's first step trains, and its third goes on with."""
H100 = ("memory_limit_gb=80",)
"""The guide's GPUs. It names a 40 GB one as well, into which less fits."""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a command did."""

    output: str
    error: str
    """The one line of a refusal; empty where it went well."""


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """The folder, and the way to its commands."""

    folder: Path

    def run(self, *words: str, command: typer.Typer = app) -> Ran:
        """Run a command in this process."""
        result = CliRunner().invoke(command, list(words))
        if isinstance(result.exception, AtlasError):
            return Ran(output=result.output, error=str(result.exception))
        assert result.exit_code == 0, result.exception or result.output
        return Ran(output=result.output, error="")

    def script(self, line: str, *more: str) -> Ran:
        """Run a line that begins with one of our scripts, as the script runs it."""
        words = [word for word in shlex.split(line, comments=True) if word.strip()]
        words = words[1:] if words[0] == "python" else words
        name, *rest = words
        commands: Mapping[str, tuple[list[str], typer.Typer]] = {
            "scripts/launch.sh": (["launch"], app),
            "scripts/launch_with_server.sh": (["launch-with-server"], app),
            "trainers/vllm_server.py": (["serve"], app),
            "train.py": (["train"], app),
            "prepare_grpo_data.py": ([], application("prepare-data")),
            "arc-atlas": ([], arc),
        }
        assert name == "arc-atlas" or (ROOT / name).is_file(), f"there is no {name}"
        begin, command = commands[name]
        return self.run(*begin, *rest, *more, command=command)


def set_up(folder: Path) -> Workshop:
    """Record sessions, warm a teacher up and reinforce it, each by the guide's own file."""
    (folder / "traces").mkdir()
    sessions = [
        recorded(number, good=number % 3 > 0, task=f"Calculate {number} + 30.")
        for number in range(1, 31)
    ]
    write_jsonl(folder / "traces" / "aime-batch.jsonl", sessions)
    shop = Workshop(folder=folder)
    done = shop.script("train.py configs/run/teacher_sft.yaml", *SMALL_SFT)
    assert "model: checkpoints/sft/final" in done.output
    done = shop.script("train.py configs/run/teacher_rcl.yaml", *SMALL_GRPO)
    assert "model: checkpoints/grpo/final" in done.output
    return shop


def subset(said: Any, there: Any) -> bool:
    """Tell whether a file says at least what a snippet says."""
    if isinstance(said, dict):
        return isinstance(there, dict) and all(
            key in there and subset(value, there[key]) for key, value in said.items()
        )
    return said == there


def file_says(path: str, snippet: str) -> bool:
    """Tell whether one of our YAML files says what the guide shows of it."""
    return subset(yaml.safe_load(snippet), yaml.safe_load((ROOT / path).read_text()))


def has_keys(config: RunConfig, settings: Sequence[str]) -> bool:
    """Tell whether a configuration has the values of ``key=value`` words."""
    keys = keys_of(type(config))
    pairs = [word.split("=", 1) for word in settings]
    return all(getattr(config, key) == convert(keys[key], value) for key, value in pairs)
