"""The GRPO loop on a tiny model: a run that was stopped and goes on is the run that wasn't."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet
import pytest
import torch
from tests.unit.conftest import StopAfter

from atlas.config.grpo import GRPOConfig
from atlas.config.resolve import resolve
from atlas.errors import AtlasError
from atlas.models.checkpoints import load_model
from atlas.rollouts.generator import Sampling
from atlas.run.progress import Silent
from atlas.run.run_dir import RunDir
from atlas.run.stopping import Stopped, StopRequest
from atlas.training.grpo import train_grpo
from atlas.training.task_order import chosen_tasks
from atlas.types import Task


def config_for(model: Path, output: Path, **changed: object) -> GRPOConfig:
    """Four steps of two prompts with four teachings each."""
    settings = {
        "model_name_or_path": str(model),
        "student_model": str(model),
        "output_dir": str(output),
        "max_steps": 4,
        "learning_rate": 1e-3,
        "num_generations": 4,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 1,
        "max_new_tokens": 6,
        "student_max_new_tokens": 6,
        "approach_max_new_tokens": 4,
        "temperature": 1.0,
        "top_p": 1.0,
        "mask_truncated_completions": False,
        "length_probe_samples": 0,
    } | changed
    return resolve(GRPOConfig(**settings))  # pyright: ignore[reportArgumentType]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights that a run ended with."""
    return load_model(folder).state_dict()


def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(
    tmp_path: Path, model_folder: Path, tasks: list[Task]
) -> None:
    straight = RunDir.create(tmp_path / "straight", "grpo")
    figures = train_grpo(
        straight,
        config_for(model_folder, straight.path),
        tasks,
        progress=Silent(),
        stop=StopRequest(),
    )
    assert figures["steps"] == 4
    broken = RunDir.create(tmp_path / "broken", "grpo")
    config = config_for(model_folder, broken.path)
    stop = StopRequest()
    with pytest.raises(Stopped):
        train_grpo(broken, config, tasks, progress=StopAfter(stop, 2), stop=stop)
    assert not broken.final.exists()
    train_grpo(broken, config, tasks, progress=Silent(), stop=StopRequest())

    for name, tensor in weights(straight.final).items():
        assert torch.equal(tensor, weights(broken.final)[name]), name
    lines = [json.loads(line) for line in broken.metrics.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert lines[0]["train/kl"] == pytest.approx(0.0, abs=1e-5)
    assert lines[-1]["train/kl"] > 0


def test_an_adapter_is_reinforced_and_its_reference_is_the_model_without_it(
    tmp_path: Path, model_folder: Path, tasks: list[Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two models are loaded, the student and the policy; none for the reference."""
    adapter = {"use_peft": True, "lora_r": 4, "lora_alpha": 8, "learning_rate": 1e-2}
    loaded = []
    for module in ("training.grpo_parts", "models.policy", "environments.loading"):
        monkeypatch.setattr(
            f"atlas.{module}.load_model",
            lambda *args, **options: loaded.append(args) or load_model(*args, **options),
        )
    straight = RunDir.create(tmp_path / "straight", "grpo")
    config = config_for(model_folder, straight.path, lora_dropout=0.1, **adapter)
    train_grpo(straight, config, tasks, progress=Silent(), stop=StopRequest())
    assert len(loaded) == 2
    broken = RunDir.create(tmp_path / "broken", "grpo")
    config = config_for(model_folder, broken.path, lora_dropout=0.1, **adapter)
    stop = StopRequest()
    with pytest.raises(Stopped):
        train_grpo(broken, config, tasks, progress=StopAfter(stop, 2), stop=stop)
    train_grpo(broken, config, tasks, progress=Silent(), stop=StopRequest())

    expected, start = weights(straight.final), weights(model_folder)
    for name, tensor in weights(broken.final).items():
        assert torch.equal(tensor, expected[name]), name
    assert {name for name in start if not torch.equal(start[name], expected[name])}
    lines = [json.loads(line) for line in broken.metrics.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert lines[0]["train/kl"] == pytest.approx(0.0, abs=1e-5)
    assert lines[-1]["train/kl"] > 0


def test_every_rollout_is_kept(tmp_path: Path, model_folder: Path, tasks: list[Task]) -> None:
    run = RunDir.create(tmp_path / "run", "grpo")
    config = config_for(model_folder, run.path, max_steps=1)
    train_grpo(run, config, tasks, progress=Silent(), stop=StopRequest())
    rows = pyarrow.parquet.read_table(run.rollouts / "step_000001.parquet").to_pylist()
    assert len(rows) == 8
    asked = {task.id for task in chosen_tasks(tasks, config, 1)}
    assert {row["task_id"] for row in rows} == asked
    assert all(row["policy_version"] == 0 for row in rows)


def test_an_epoch_meets_every_task_once(tasks: list[Task]) -> None:
    config = config_for(Path("m"), Path("o"))
    met = [task.id for step in range(1, 7) for task in chosen_tasks(tasks, config, step)]
    assert sorted(met) == sorted(task.id for task in tasks)
    again = [task.id for step in range(7, 13) for task in chosen_tasks(tasks, config, step)]
    assert sorted(again) == sorted(met)
    assert again != met


def test_every_key_of_the_sampling_reaches_it(tmp_path: Path) -> None:
    values = {
        "temperature": 0.8,
        "top_p": 0.7,
        "top_k": 6,
        "min_p": 0.05,
        "repetition_penalty": 1.1,
        "stop": ("Answer:", "END"),
        "max_new_tokens": 9,
    }
    found = Sampling.of(config_for(tmp_path, tmp_path, **values))
    assert found == Sampling(**values)  # pyright: ignore[reportArgumentType]
    assert Sampling.of(config_for(tmp_path, tmp_path)).stop == ()


def test_too_few_tasks_are_refused(tmp_path: Path, model_folder: Path, tasks: list[Task]) -> None:
    run = RunDir.create(tmp_path / "run", "grpo")
    config = config_for(model_folder, run.path)
    with pytest.raises(AtlasError, match="1 tasks, but prompts_per_step is 2"):
        train_grpo(run, config, tasks[:1], progress=Silent(), stop=StopRequest())


def test_what_a_step_consists_of_is_logged(
    tmp_path: Path, model_folder: Path, tasks: list[Task]
) -> None:
    run = RunDir.create(tmp_path / "run", "grpo")
    config = config_for(model_folder, run.path, max_steps=1)
    train_grpo(run, config, tasks, progress=Silent(), stop=StopRequest())
    assert "completions per step: 8 = 2 × num_generations 4" in run.log.read_text()


def test_a_run_that_would_cut_most_teachings_is_refused_before_it_begins(
    tmp_path: Path, model_folder: Path, tasks: list[Task]
) -> None:
    """Random weights hardly ever say that they have ended."""
    run = RunDir.create(tmp_path / "run", "grpo")
    config = config_for(model_folder, run.path, max_steps=1, length_probe_samples=8)
    with pytest.raises(AtlasError, match=r"of 8 sampled teachings are cut at max_new_tokens=6; .*"):
        train_grpo(run, config, tasks, progress=Silent(), stop=StopRequest())
    assert not run.metrics.exists()
    run = RunDir.create(tmp_path / "all the same", "grpo")
    config = replace(config, output_dir=str(run.path), max_clipped_share=1.0)
    train_grpo(run, config, tasks, progress=Silent(), stop=StopRequest())
    assert "of 8 sampled attempts of the student are cut" in run.log.read_text()


def test_a_teaching_that_has_no_room_is_refused(
    tmp_path: Path, model_folder: Path, tasks: list[Task]
) -> None:
    """The model has room for 256 tokens."""
    run = RunDir.create(tmp_path / "run", "grpo")
    config = config_for(model_folder, run.path, max_new_tokens=255)
    with pytest.raises(
        AtlasError, match=r"max_new_tokens=255 doesn't fit: a prompt of the teacher"
    ):
        train_grpo(run, config, tasks, progress=Silent(), stop=StopRequest())


def test_the_same_teachings_can_be_learned_from_twice(
    tmp_path: Path, model_folder: Path, tasks: list[Task]
) -> None:
    run = RunDir.create(tmp_path / "run", "grpo")
    config = config_for(model_folder, run.path, max_steps=1, num_iterations=2, warmup_ratio=0.0)
    figures = train_grpo(run, config, tasks, progress=Silent(), stop=StopRequest())
    assert figures["train/ratio_max"] > 1.001


def test_a_reward_of_the_users_own_and_a_canary_are_in_the_log(
    tmp_path: Path, model_folder: Path, tasks: list[Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own_reward.py").write_text(
        "def reward(answer, teaching):\n"
        "    return None if len(teaching) % 3 == 0 else len(teaching) / 9\n"
    )
    run = RunDir.create(tmp_path / "run", "grpo")
    config = config_for(
        model_folder,
        run.path,
        max_steps=2,
        reward_function="own_reward.reward",
        allow_targets=("own_reward.reward",),
        reward_function_weight=0.5,
        reward_function_cap=2.0,
        reward_function_required=False,
        canary_tasks=3,
        canary_steps=2,
    )
    train_grpo(run, config, tasks, progress=Silent(), stop=StopRequest())
    first, second = (json.loads(line) for line in run.metrics.read_text().splitlines())
    for line in (first, second):
        added = [value for name, value in line.items() if name.startswith("reward/")]
        assert sum(added) == pytest.approx(line["train/reward"])
    assert "canary/accuracy_taught" not in first
    assert second["canary/alarm"] == 0.0
    files = sorted(run.rollouts.glob("*.parquet"))
    rows = [row for file in files for row in pyarrow.parquet.read_table(file).to_pylist()]
    said = [row for row in rows if not row["part_leaked"] and len(row["teaching"]) % 3]
    assert said
    for row in said:
        assert row["part_own"] == pytest.approx(len(row["teaching"]) / 9)
        assert row["reward_own"] == pytest.approx(0.5 * min(2.0, len(row["teaching"]) / 9))
    silent = [row for row in rows if not row["part_leaked"] and len(row["teaching"]) % 3 == 0]
    assert all(row["part_own"] is None and row["reward"] is not None for row in silent)
    # What is set aside is never taught.
    taught = {row["task_id"] for row in rows}
    assert not taught & {task.id for task in sorted(tasks, key=lambda task: task.id)[:3]}


def test_in_bfloat16_policy_and_reference_begin_as_one(
    tmp_path: Path, model_folder: Path, tasks: list[Task]
) -> None:
    """The reference's weights are kept rounded, and yet the KL of the first step is exactly 0."""
    run = RunDir.create(tmp_path / "run", "grpo")
    config = config_for(
        model_folder, run.path, precision="bf16", max_steps=2, warmup_ratio=0.0, canary_tasks=0
    )
    train_grpo(run, config, tasks, progress=Silent(), stop=StopRequest())
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    kls = [row["train/kl"] for row in rows if "train/kl" in row]
    assert kls[0] == 0
    assert kls[1] > 0
    assert all(weight.dtype == torch.float32 for weight in weights(run.final).values())
