"""Killed with SIGKILL anywhere, ``atlas resume`` ends where the command would have ended.

Kills fall before a rename, a removal, a file that is opened to be written, a link, a process that
is started (by number, evenly over a whole run), and after random times: in a step, in an
evaluation. Weights and the chains of all steps must be those of the run that nobody killed, bit
for bit.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.integration.test_training_commands import GRPO, SFT, sessions

from atlas.traces.jsonl import write_jsonl

KILLS_BY_EVENT, KILLS_BY_TIME = 5, 3
KILLED = 9
COMMANDS = {
    "sft": (
        *("sft", "teacher_sft", "data=runtime_traces", "export_path=traces.jsonl", *SFT),
        *("output_dir=run", "save_steps=1", "eval_steps=1", "load_best_model_at_end=true"),
        "logging_steps=3",  # so that a kill falls between two lines
    ),
    "grpo": (
        *("grpo", "teacher_rcl", "data=runtime_traces", "export_path=traces.jsonl", *GRPO),
        *("output_dir=run", "max_steps=3"),
    ),
    "ranked": ("ranked", "--config", "train_config.json"),
    "quickstart": (
        *("quickstart", "output_dir=run", "collect_tasks=40", "grpo_max_steps=2"),
        *("grpo_num_generations=2", "grpo_per_device_train_batch_size=4", "eval_tasks=8"),
        *("student_max_new_tokens=64", "grpo_save_steps=1"),
    ),
}
RANKED = {
    "model_size": "nano",
    "batch_size": 8,
    "epochs": 1,
    "pretrain_epochs": 1,
    "pretrain_tokens_per_step": 4096,
    "save_every": 1,
    "logging_steps": 1,
    "eval_prompts": 4,
    "eval_max_new_tokens": 8,
    "output_dir": "run",
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a command."""

    signal: int
    code: int | None
    seconds: float


class Forks:
    """Runs commands in forks of one warm process."""

    def __init__(self) -> None:
        server = Path(__file__).with_name("forked_commands.py")
        # One thread: a fork has none of its parent's threads, and would wait for them.
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        self._process = subprocess.Popen(
            [sys.executable, server],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def run(
        self,
        folder: Path,
        *words: str,
        event: int | None = None,
        seconds: float | None = None,
    ) -> Outcome:
        request = {"folder": str(folder), "words": words}
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({**request, "event": event, "seconds": seconds}))
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return Outcome(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    forks = Forks()
    yield forks
    forks.close()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands read."""
    folder = tmp_path_factory.mktemp("inputs")
    write_jsonl(folder / "traces.jsonl", sessions())
    (folder / "train_config.json").write_text(json.dumps(RANKED))
    words = ("prepare-data", "--size", "60", "--validation-size", "8", "--output-dir", "data")
    subprocess.run([sys.executable, "-m", "atlas", *words], cwd=folder, check=True)
    return folder


def begun(inputs: Path, folder: Path) -> Path:
    shutil.copytree(inputs, folder)
    return folder


def results(folder: Path) -> dict[str, Any]:
    """Return what must be equal: the final weights, and each step's metrics with its chain."""
    weights = {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*.safetensors"))
        if "checkpoints" not in file.parts
    }
    lines = {
        str(file.relative_to(folder)): [
            {name: value for name, value in json.loads(line).items() if "time" not in name}
            for line in file.read_text().replace("/tokens_per_second", "/time").splitlines()
        ]
        for file in sorted(folder.rglob("metrics.jsonl"))
    }
    return {"weights": weights, "metrics": lines}


@pytest.mark.parametrize("job", COMMANDS)
def test_a_killed_run_ends_as_the_one_that_nobody_killed(
    job: str, forks: Forks, inputs: Path, server_folder: Path
) -> None:
    whole = begun(inputs, server_folder / "whole")
    straight = forks.run(whole, *COMMANDS[job])
    assert straight.code == 0, (whole / "output.txt").read_text()
    expected, num_events = results(whole), int((whole / "events.txt").read_text())
    assert expected["weights"]
    assert any("chain" in line for lines in expected["metrics"].values() for line in lines)
    chosen = random.Random(job)
    kills: list[dict[str, Any]] = [
        {"event": 1 + (num_events - 1) * (2 * n + 1) // (2 * KILLS_BY_EVENT)}
        for n in range(KILLS_BY_EVENT)
    ]
    kills += [{"seconds": straight.seconds * chosen.random()} for _ in range(KILLS_BY_TIME)]
    fallen = 0
    for number, kill in enumerate(kills):
        folder = begun(inputs, server_folder / f"killed_{number}")
        fallen += forks.run(folder, *COMMANDS[job], **kill).signal == KILLED
        kept = (folder / "run" / "config.yaml").exists()
        again = forks.run(folder, *(("resume", "run") if kept else COMMANDS[job]))
        said = (folder / "output.txt").read_text()
        finished = "is finished" in said  # killed after its last word
        assert again.code == 0 or finished, (kill, said)
        assert results(folder) == expected, kill
        shutil.rmtree(folder)
    assert fallen >= KILLS_BY_EVENT  # a fast machine may be through before a time has passed
