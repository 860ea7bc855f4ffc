"""One warm process for the commands of a module, and what they read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.test_training_commands import sessions
from tests.reliability.forks import Forks

from atlas.traces.jsonl import write_jsonl

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


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    """Runs commands."""
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
