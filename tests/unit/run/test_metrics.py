from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.summary.writer import event_file_writer

from atlas.config import SFTConfig
from atlas.errors import AtlasError
from atlas.run.metrics import MetricSink, sink_for
from atlas.run.run_dir import RunDir

DIE = """
import os, signal, sys
from atlas.run.metrics import MetricSink
from atlas.run.run_dir import RunDir
sink = MetricSink(RunDir.open(sys.argv[1]), stage="sft", total_steps=9)
sink.log(1, {"train/loss": 0.5})
sink.log(2, {"train/loss": 0.25})
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir.create(tmp_path / "run", "grpo")


def lines(run: RunDir) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.metrics.read_text().splitlines()]


def steps(run: RunDir) -> list[tuple[str, int]]:
    return [(line["stage"], line["step"]) for line in lines(run)]


def write(run: RunDir, stage: str, first: int, last: int, resume_step: int | None = None) -> None:
    with MetricSink(run, stage=stage, total_steps=9, resume_step=resume_step) as sink:
        for step in range(first, last + 1):
            sink.log(step, {"train/loss": float(step)})


def test_a_line_has_step_time_stage_and_the_numbers(run: RunDir) -> None:
    with MetricSink(run, stage="grpo", total_steps=60) as sink:
        sink.log(3, {"train/reward": 0.41, "train/kl": math.nan, "train/dead_groups": 2})
    (line,) = lines(run)
    assert line.pop("time") > 1.6e9
    assert line == {
        "step": 3,
        "stage": "grpo",
        "train/reward": 0.41,
        "train/kl": None,
        "train/dead_groups": 2,
    }


def test_a_killed_process_has_lost_no_line(run: RunDir) -> None:
    source = str(Path(__file__).resolve().parents[3] / "src")
    done = subprocess.run(
        [sys.executable, "-c", DIE, str(run.path)], env={"PYTHONPATH": source}, check=False
    )
    assert done.returncode == -9
    assert steps(run) == [("sft", 1), ("sft", 2)]
    assert "sft  2/9  loss 0.25" in run.log.read_text()


def test_resuming_drops_later_lines_of_the_same_stage_only(run: RunDir) -> None:
    write(run, "sft", 1, 3)
    write(run, "grpo", 1, 5)
    write(run, "grpo", 4, 5, resume_step=3)
    assert steps(run) == [
        *[("sft", step) for step in (1, 2, 3)],
        *[("grpo", step) for step in (1, 2, 3, 4, 5)],
    ]


def test_starting_anew_drops_all_of_the_stage(run: RunDir) -> None:
    write(run, "grpo", 0, 5)
    write(run, "grpo", 0, 1)
    assert steps(run) == [("grpo", 0), ("grpo", 1)]


def test_a_line_cut_off_by_a_crash_goes(run: RunDir) -> None:
    write(run, "grpo", 1, 2)
    with run.metrics.open("a") as file:
        file.write('{"step": 3, "ti')
    write(run, "grpo", 3, 3, resume_step=2)
    assert steps(run) == [("grpo", 1), ("grpo", 2), ("grpo", 3)]


def test_a_file_of_something_else_is_left_alone(run: RunDir) -> None:
    run.metrics.write_text('{"epoch": 1}\n')
    with pytest.raises(AtlasError, match=r"metrics.jsonl, line 1 isn't a step's metrics"):
        MetricSink(run, stage="grpo", total_steps=1)
    assert run.metrics.read_text() == '{"epoch": 1}\n'


@pytest.fixture
def _files_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Event files of one second are read in the order of their numbers, 10 before 9."""
    numbers = itertools.count(100)
    monkeypatch.setattr(
        event_file_writer, "_global_uid", SimpleNamespace(get=lambda: next(numbers))
    )


@pytest.mark.usefixtures("_files_in_order")
def test_tensorboard_keeps_the_curve_of_every_stage(run: RunDir) -> None:
    write(run, "warm-up", 1, 3)
    write(run, "grpo", 1, 2)
    for folder, steps in ((run.tensorboard / "warm-up", [1, 2, 3]), (run.tensorboard, [1, 2])):
        accumulator = EventAccumulator(str(folder))
        accumulator.Reload()
        assert [event.step for event in accumulator.Scalars("train/loss")] == steps


@pytest.mark.usefixtures("_files_in_order")
def test_tensorboard_sees_each_step_once_after_a_resume(run: RunDir) -> None:
    write(run, "grpo", 1, 5)
    with MetricSink(run, stage="grpo", total_steps=9, resume_step=3) as sink:
        sink.log(4, {"train/loss": -4.0, "train/kl": math.inf})
    accumulator = EventAccumulator(str(run.tensorboard))
    accumulator.Reload()
    seen = [(event.step, event.value) for event in accumulator.Scalars("train/loss")]
    assert seen == [(1, 1.0), (2, 2.0), (3, 3.0), (4, -4.0)]
    assert accumulator.Tags()["scalars"] == ["train/loss"]


@pytest.mark.usefixtures("_files_in_order")
def test_tensorboard_has_the_settings_beside_the_curve(run: RunDir) -> None:
    settings = {"seed": 7, "beta": 0.04, "export_path": None, "families": ["chain_sum"]}
    with MetricSink(run, stage="grpo", total_steps=1, settings=settings) as sink:
        sink.show(1, "rollouts", "**task**")
        sink.log(1, {"train/loss": 1.0})
    accumulator = EventAccumulator(str(run.tensorboard))
    accumulator.Reload()
    start = accumulator.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    said = plugin_data_pb2.HParamsPluginData.FromString(start).session_start_info.hparams
    assert said["beta"].number_value == 0.04
    assert said["export_path"].string_value == "None"
    (text,) = accumulator.Tensors("settings/text_summary")
    assert b"    seed: 7" in text.tensor_proto.string_val[0]
    (sample,) = accumulator.Tensors("rollouts/text_summary")
    assert (sample.step, sample.tensor_proto.string_val[0]) == (1, b"**task**")
    assert accumulator.Tags()["scalars"] == ["train/loss"]


def test_the_log_reads_well(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 100.0 + 4 * 15.0])
    monkeypatch.setattr("atlas.run.metrics.time.monotonic", lambda: next(clock))
    with MetricSink(run, stage="grpo", total_steps=60, resume_step=2) as sink:
        sink.log(
            6,
            {"train/learning_rate": 5e-7, "time/update": 1.0, "train/loss": -0.0123456},
        )
    start, line = run.log.read_text().splitlines()
    assert start.endswith("  grpo  go on after step 2")
    # Four steps of 15 s are done, 54 are left.
    assert line[21:] == "grpo   6/60  loss -0.01235  learning_rate 5e-07  ETA 0:13:30"


def test_what_follows_the_steps_is_in_the_eta_of_all(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([100.0, 100.0 + 4 * 15.0])
    monkeypatch.setattr("atlas.run.metrics.time.monotonic", lambda: next(clock))
    config = SFTConfig(model_name_or_path="m")
    with sink_for(run, config, stage="grpo", total_steps=8, first_step=0, later_steps=10) as sink:
        sink.log(4, {})
    line = run.log.read_text().splitlines()[-1]
    assert line.endswith("4/8  ETA 0:01:00, with what follows 0:03:30")


def test_the_log_keeps_what_earlier_attempts_wrote(run: RunDir) -> None:
    write(run, "grpo", 1, 1)
    write(run, "grpo", 1, 1)
    assert run.log.read_text().count("grpo  start") == 2
