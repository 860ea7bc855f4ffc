"""Killed with SIGKILL anywhere, ``atlas resume`` ends where the command would have ended.

Kills fall before a rename, a removal, a file that is opened to be written, a link, a process that
is started (by number, evenly over a whole run), and after random times: in a step, in an
evaluation. Weights and the chains of all steps must be those of the run that nobody killed, bit
for bit.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.integration.test_training_commands import GRPO, SFT
from tests.reliability.forks import KILLED, Forks, begun, results

KILLS_BY_EVENT, KILLS_BY_TIME = 5, 3
COMMANDS = {
    "sft": (
        *("sft", "teacher_sft", "data=runtime_traces", "export_path=traces.jsonl", *SFT),
        *("output_dir=run", "save_steps=1", "eval_steps=1", "load_best_model_at_end=true"),
        "logging_steps=3",  # so that a kill falls between two lines
    ),
    "grpo": (
        *("grpo", "teacher_rcl", "data=runtime_traces", "export_path=traces.jsonl", *GRPO),
        *("output_dir=run", "max_steps=3", "num_generations=4", "temperature=1"),
        "mask_truncated_completions=false",  # so that every step learns something
    ),
    "ranked": ("ranked", "--config", "train_config.json"),
    "quickstart": (
        *("quickstart", "output_dir=run", "collect_tasks=40", "grpo_max_steps=2"),
        *("grpo_num_generations=2", "grpo_per_device_train_batch_size=4", "eval_tasks=8"),
        *("student_max_new_tokens=64", "grpo_save_steps=1"),
    ),
}


@pytest.mark.parametrize("job", COMMANDS)
def test_a_killed_run_ends_as_the_one_that_nobody_killed(
    job: str, forks: Forks, inputs: Path, server_folder: Path
) -> None:
    whole = begun(inputs, server_folder / "whole")
    straight = forks.run(whole, *COMMANDS[job])
    assert straight.code == 0, (whole / "output.txt").read_text()
    expected, num_events = results(whole), int((whole / "events.txt").read_text())
    assert expected["weights"]
    assert all(
        any("train/loss" in line for line in lines) for lines in expected["metrics"].values()
    )
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
