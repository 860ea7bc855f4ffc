"""How long a training takes by what an earlier one recorded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from atlas.config import GRPOConfig, SFTConfig
from atlas.config.resolve import resolve
from atlas.planning.recorded_rate import RecordedRate, recorded_line, recorded_rate
from atlas.run.config_file import keep_config
from atlas.run.run_dir import RunDir


def sft(**given: Any) -> SFTConfig:
    return resolve(SFTConfig(**{"model_name_or_path": "m", **given}))


def grpo(**given: Any) -> GRPOConfig:
    few: dict[str, Any] = {"num_generations": 4, "prompts_per_step": 5, "max_steps": 100}
    names = {"model_name_or_path": "m", "student_model": "s"}
    return resolve(GRPOConfig(**{**names, **few, **given}))


def record(
    config: SFTConfig | GRPOConfig, place: Path, lines: Sequence[Mapping[str, float]]
) -> RunDir:
    run = RunDir.create(str(place), config.job)
    keep_config(config, run.config)
    stamped = [{"step": n, "stage": config.job, **line} for n, line in enumerate(lines, start=1)]
    run.metrics.write_text("".join(json.dumps(line) + "\n" for line in stamped))
    return run


def test_sft_takes_its_tokens_at_the_recorded_speed(tmp_path: Path) -> None:
    rates = (10.0, 500.0, 490.0, 480.0, 520.0)
    lines = [{"time": n, "train/tokens_per_second": rate} for n, rate in enumerate(rates)]
    record(sft(), tmp_path / "try", lines)
    planned = sft(output_dir=str(tmp_path / "real"))
    rate = recorded_rate(planned)
    assert rate == RecordedRate(run=tmp_path / "try", seconds=pytest.approx(1 / 490, rel=0.01))
    line = recorded_line(planned, rate, 490 * 3600)
    assert line.startswith("time: about 1:00:00, at 490 tokens a second, which ")
    assert "/try recorded" in line


def test_grpo_takes_its_steps_and_the_measurement_of_its_end(tmp_path: Path) -> None:
    # Twenty teachings in ten seconds; once it was stopped for an hour.
    lines = [{"time": when} for when in (0.0, 10.0, 20.0, 3620.0, 3630.0)]
    record(grpo(evaluate_tasks=0), tmp_path / "try", lines)
    twice = grpo(output_dir=str(tmp_path / "real"), prompts_per_step=10, evaluate_tasks=400)
    rate = recorded_rate(twice)
    assert rate is not None
    assert rate.seconds == pytest.approx(0.5)
    assert twice.steps_of_the_end == 400 / 40
    said = recorded_line(twice, rate, 0)
    assert said.startswith("time: about 0:36:40, at 20 s a step, which ")  # 110 steps


def test_other_work_tells_nothing(tmp_path: Path) -> None:
    lines = [{"time": n * 10.0} for n in range(5)]
    real = str(tmp_path / "real")
    record(grpo(), tmp_path / "try", lines)
    record(grpo(student_model="t"), tmp_path / "two_lines", lines[:2])
    (tmp_path / "three").mkdir()
    (tmp_path / "three" / "run.json").write_text("{")
    assert recorded_rate(grpo(output_dir=real)) is not None
    assert recorded_rate(grpo(output_dir=real, student_model="t")) is None
    assert recorded_rate(grpo(output_dir=real, max_new_tokens=99)) is None
    assert recorded_rate(sft(output_dir=real)) is None
    assert recorded_rate(grpo(output_dir=str(tmp_path / "no" / "such"))) is None


def test_the_end_of_a_run_is_no_longer_than_what_it_worked_through() -> None:
    assert grpo(evaluate_tasks=400, max_steps=4).steps_of_the_end == 20 / 20
    assert grpo(environment="solve", student_model=None).steps_of_the_end == 0
