"""``on_unhealthy``: what a training does when the doctor finds something while it goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.data.sources.recorded import recorded
from typer.testing import CliRunner

from atlas.cli.app import app
from atlas.run.listing import listed
from atlas.run.run_dir import RunDir
from atlas.traces.jsonl import write_jsonl

SFT = (
    *("sft", "teacher_sft", "data=runtime_traces", "export_path=traces.jsonl"),
    *("model_name_or_path=base", "per_device_train_batch_size=1", "gradient_accumulation_steps=1"),
    *("max_steps=13", "eval_split_ratio=0.2", "results_dir=null", "output_dir=run"),
)
SICK = "goal_grad_norm=0.001"
"""A bound that no training keeps."""
FOUND = "below 0.001 is healthy; lower learning_rate"


@pytest.fixture(autouse=True)
def _traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, beside twenty sessions that went well."""
    monkeypatch.chdir(tmp_path)
    write_jsonl("traces.jsonl", [recorded(number, good=True) for number in range(20)])


def atlas(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(words))
    return done.exit_code, done.output


def state() -> str:
    return listed(RunDir.open("run", "sft")).state


def log() -> str:
    return Path("run/training.log").read_text()


def test_a_warning_is_one_line_and_the_training_goes_on() -> None:
    code, said = atlas(*SFT, SICK)
    assert code == 0
    assert [log().count(FOUND), said.count(FOUND)] == [1, 1]
    assert state() == "finished"


def test_a_pause_ends_the_command_once_and_the_same_command_goes_on() -> None:
    code, said = atlas(*SFT, SICK, "on_unhealthy=pause")
    assert code == 1
    assert "Paused by the doctor. The same command goes on from the last checkpoint" in said
    assert state() == "paused by the doctor at step 10 of 13"
    assert Path("run/checkpoints/step_000010/manifest.json").is_file()
    code, said = atlas("resume", "run")
    assert code == 0, said
    assert log().count(FOUND) == 1
    assert state() == "finished"


def test_a_stop_stops_again_until_it_is_told_otherwise() -> None:
    code, said = atlas(*SFT, SICK, "on_unhealthy=stop")
    assert code == 130
    assert "Stopped by the doctor." in said
    assert state() == "stopped by the doctor at step 10 of 13"
    assert atlas("resume", "run")[0] == 130
    assert state() == "stopped by the doctor at step 11 of 13"
    code, said = atlas("resume", "run", "on_unhealthy=warn", "--override-config")
    assert code == 0, said
    assert log().count(FOUND) == 1
