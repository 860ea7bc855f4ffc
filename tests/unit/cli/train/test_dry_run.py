"""--dry-run on each command that trains: what it prints, what it refuses; it writes nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.unit.data.sources.recorded import recorded
from typer.testing import CliRunner, Result

from atlas.cli.app import app
from atlas.config import SFTConfig, load_config
from atlas.errors import AtlasError
from atlas.run.config_file import keep_config
from atlas.run.run_dir import RunDir
from atlas.traces.jsonl import write_jsonl

DATA = ("data=runtime_traces", "export_path=traces.jsonl", "eval_split_ratio=0.2")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with twenty sessions in a file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    write_jsonl("traces.jsonl", [recorded(n, task=f"Add {n} and 5.") for n in range(1, 21)])
    return tmp_path


def dry(*words: str) -> Result:
    return CliRunner().invoke(app, [*words, "--dry-run"])


@pytest.mark.parametrize(
    ("words", "processes"),
    [(("sft",), 1), (("train",), 1), (("launch", "4"), 4)],
    ids=["sft", "train", "launch"],
)
def test_sft_says_its_settings_steps_and_memory(words: tuple[str, ...], processes: int) -> None:
    result = dry(*words, "teacher_sft", *DATA, "model_name_or_path=base")
    assert result.exit_code == 0, result.exception
    out = " ".join(result.output.split())
    assert "│ learning_rate │ 2e-05 │" in out
    assert "│ model_name_or_path │ base │ the command line │" in out
    assert f"examples per step: {16 * processes} = per_device_train_batch_size 2" in out
    assert f"gradient_accumulation_steps 8 × processes {processes}" in out
    assert "optimiser steps: " in out
    assert "│ optimiser states │ 0.01 │ always │" in out
    assert f"{processes} device(s), engine " in out
    assert "914,560 of 914,560 parameters are trained" in out
    assert "Nothing was loaded or written." in out
    assert [path.name for path in Path().iterdir()] == ["traces.jsonl"]


@pytest.mark.parametrize("job", [("sft", "teacher_sft"), ("launch", "2", "teacher_sft")])
def test_a_program_gets_the_plan_and_the_refusal(job: tuple[str, ...]) -> None:
    words = (*job, *DATA, "model_name_or_path=base")
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == 0, result.exception
    plan = json.loads(result.output)
    assert plan["num_devices"] == (2 if job[0] == "launch" else 1)
    assert plan["fits"]
    assert plan["peak_bytes"] <= plan["limit_bytes"]
    set_by = {row["key"]: row["set_by"] for row in plan["configuration"]}
    assert set_by["model_name_or_path"] == "the command line"
    assert any(line.startswith("optimiser steps: ") for line in plan["work"])
    assert [path.name for path in Path().iterdir()] == ["traces.jsonl"]
    small = CliRunner().invoke(
        app, [*words, "--json", "memory_limit_gb=0.5", "per_device_train_batch_size=200"]
    )
    assert json.loads(small.output)["fits"] is False
    assert isinstance(small.exception, AtlasError)


def test_the_number_of_steps_is_that_of_the_training() -> None:
    words = ("sft", "teacher_sft", *DATA, "model_name_or_path=base", "num_train_epochs=5")
    planned = dry(*words)
    assert CliRunner().invoke(app, list(words)).exit_code == 0
    done = Path("checkpoints/sft/training.log").read_text()
    (line,) = [line for line in planned.output.splitlines() if line.startswith("optimiser steps")]
    assert line in done


def test_grpo_says_what_a_step_samples() -> None:
    words = ("teacher_rcl", *DATA, "model_name_or_path=base", "student_model=base")
    out = dry("grpo", *words, "max_steps=10").output
    assert "prompts per step: 4 = per_device_train_batch_size 1" in out
    assert "completions per step: 128 = 4 × num_generations 32" in out
    said = re.search(r"tasks: (\d+), each taught ([\d.]+) times in 10 steps", out)
    assert said
    assert float(said[2]) == pytest.approx(40 / int(said[1]), rel=0.05)
    assert "key/value cache of the student" in out


def test_what_cannot_fit_is_refused_with_what_would() -> None:
    words = ("teacher_sft", *DATA, "memory_limit_gb=2", "model_name_or_path=base")
    result = dry("sft", *words, "per_device_train_batch_size=200")
    assert isinstance(result.exception, AtlasError)
    assert "base needs " in str(result.exception)
    way = "per_device_train_batch_size=1 gradient_accumulation_steps=1600"
    assert f"; it fits with {way}" in str(result.exception)


def test_data_that_cannot_be_read_is_said_and_the_memory_still_planned() -> None:
    out = dry("sft", "teacher_sft", "model_name_or_path=base", "dataset_files=sft.jsonl").output
    assert "optimiser steps: not known, since the data can't be read here" in out
    assert "It fits: " in out


def test_mistakes_are_found_as_in_a_real_run() -> None:
    assert "unknown key 'bta'" in str(dry("grpo", "teacher_rcl", "bta=1").exception)
    assert "--dry-run plans the jobs sft and grpo, not collect" in str(
        dry("train", "collect").exception
    )
    assert "'two' is no number of processes" in str(dry("launch", "two", "teacher_sft").exception)


def test_a_file_of_deepspeeds_that_contradicts_is_found_before_the_run() -> None:
    Path("ds.json").write_text('{"zero_optimization": {"stage": 2}, "gradient_clipping": 0.5}')
    words = ("teacher_sft", *DATA, "model_name_or_path=base", "deepspeed=ds.json")
    for run in (dry("sft", *words), CliRunner().invoke(app, ["sft", *words])):
        assert isinstance(run.exception, AtlasError)
        assert "says gradient_clipping=0.5, but max_grad_norm=1.0" in str(run.exception)
    assert not Path("checkpoints").exists()


def test_disk_and_time_are_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("teacher_sft", *DATA, "model_name_or_path=base")
    said = dry("sft", *words).output
    assert re.search(r"disk: at most 0\.\d\d GB at checkpoints/sft \(final/ 0\.01, check", said)
    assert "time: at least 0:00:0" in said
    elsewhere = dry("sft", *words, "memory_limit_gb=80").output
    assert "time: not told" in elsewhere

    monkeypatch.setattr("atlas.run.files._free_bytes", lambda path: 1_000_000)
    for run in (dry("sft", *words), CliRunner().invoke(app, ["sft", *words])):
        assert isinstance(run.exception, AtlasError)
        assert re.search(r"checkpoints/sft needs .* of disk, but .* is free", str(run.exception))
    assert not Path("checkpoints").exists()


def test_time_is_estimated_from_what_a_run_beside_it_recorded() -> None:
    words = ("teacher_sft", *DATA, "model_name_or_path=base")
    run = RunDir.create("checkpoints/short", "sft")
    keep_config(load_config(SFTConfig, words[0], [*words[1:], "max_steps=3"]), run.config)
    line = {"stage": "sft", "time": 1.0, "train/tokens_per_second": 7.0}
    lines = [json.dumps({**line, "step": step}) for step in (1, 2, 3)]
    run.metrics.write_text("".join(f"{line}\n" for line in lines))
    said = dry("sft", *words).output
    took = r"time: about \d:\d\d:\d\d, at 7 tokens a second, which checkpoints/short"
    assert re.search(took, said), said
