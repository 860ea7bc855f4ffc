"""SFT and GRPO in two processes are the trainings of one: samples, weights, metrics, states."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import torch
from tests.integration.test_training_commands import sessions

from atlas.cli.train.train import train
from atlas.errors import AtlasError
from atlas.models.checkpoints import load_model
from atlas.traces.jsonl import write_jsonl

ROOT = Path(__file__).resolve().parents[2]
SFT = ("configs/run/teacher_sft.yaml", "model_name_or_path=base", "save_steps=2", "eval_steps=2")
GRPO = (
    "configs/run/teacher_rcl.yaml",
    "model_name_or_path=base",
    "student_model=base",
    "max_steps=5",
    "num_generations=4",
    "max_new_tokens=16",
    "mask_truncated_completions=false",
    "scale_rewards=batch",
    "max_clipped_share=1",
    "length_probe_samples=2",
    "student_max_new_tokens=16",
    "approach_max_new_tokens=8",
    "canary_steps=2",
    "save_steps=2",
    "learning_rate=1e-4",
)
ZERO3 = "deepspeed=configs/deepspeed/zero3.json"
SHARED: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "sft": (SFT, ()),
    "sft_fsdp": (SFT, ("engine=fsdp",)),
    "grpo": (GRPO, ()),
    "grpo_zero3": (GRPO, (ZERO3,)),
    "grpo_lora_fsdp": (GRPO, ("use_peft=true", "engine=fsdp")),
}
"""Jobs of two processes: what the training is, and how it is shared."""
ALONE = {"sft": "sft", "sft_fsdp": "sft", "grpo": "grpo", "grpo_zero3": "grpo"}
"""Job -> the job of one process that it must equal."""


def words(job: Sequence[str], folder: Path, name: str, *more: str, num_processes: int) -> list[str]:
    """Return a command line; a step has eight examples, or four prompts, in all."""
    accumulation = 4 // num_processes
    return [
        *job,
        *more,
        f"gradient_accumulation_steps={accumulation}",
        "data=runtime_traces",
        f"export_path={folder / 'traces.jsonl'}",
        "eval_split_ratio=0.2",
        "float32_matmul_precision=highest",
        "num_threads=1",
        f"output_dir={folder / name}",
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all trainings wrote; those of two processes were started once."""
    folder = tmp_path_factory.mktemp("trainings")
    write_jsonl(folder / "traces.jsonl", sessions())
    jobs = [words(job, folder, name, *how, num_processes=2) for name, (job, how) in SHARED.items()]
    together(jobs)
    for name, job in (("sft", SFT), ("grpo", GRPO), ("grpo_lora", (*GRPO, "use_peft=true"))):
        source, *overrides = words(job, folder, f"{name}_alone", num_processes=1)
        train(source, overrides)
    return folder


def together(jobs: Sequence[Sequence[str]]) -> str:
    """Run jobs in two processes; return what they printed."""
    return in_two([str(Path(__file__).with_name("jobs.py")), json.dumps(jobs)])


def in_two(words: Sequence[str]) -> str:
    """Start two processes; return what they printed."""
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *words,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done.stdout


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def same_weights(one: Path, other: Path) -> None:
    wanted = load_model(other).state_dict()
    for name, weight in load_model(one).state_dict().items():
        torch.testing.assert_close(weight, wanted[name], rtol=1e-4, atol=1e-5)


OTHERWISE = ("stage", "train/tokens_per_second", "chain")
"""The chain is of the bits, in which sums of several processes differ."""
PAIRS = [*ALONE.items(), ("grpo_lora_fsdp", "grpo_lora")]


@pytest.mark.parametrize(("name", "other"), PAIRS)
def test_the_weights_are_those_of_one_process(folder: Path, name: str, other: str) -> None:
    same_weights(folder / name / "final", folder / f"{other}_alone" / "final")


@pytest.mark.parametrize(("name", "other"), PAIRS)
def test_the_metrics_are_those_of_one_process(folder: Path, name: str, other: str) -> None:
    found, wanted = lines(folder / name), lines(folder / f"{other}_alone")
    assert [line["step"] for line in found] == [line["step"] for line in wanted]
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.keys() == theirs.keys()
        for metric, value in theirs.items():
            if not metric.startswith("time") and metric not in OTHERWISE:
                assert mine[metric] == pytest.approx(value, rel=2e-3, abs=1e-5), metric


@pytest.mark.parametrize("name", ["grpo", "grpo_zero3"])
def test_the_same_teachings_are_sampled(folder: Path, name: str) -> None:
    for step in range(1, 6):
        tables = [
            pyarrow.parquet.read_table(folder / run / "rollouts" / f"step_{step:06d}.parquet")
            for run in (name, "grpo_alone")
        ]
        columns = ("task_id", "baseline", "approach", "teaching", "attempt")
        first, second = (table.select(columns).to_pydict() for table in tables)
        assert first == second


@pytest.mark.parametrize("step", [2, 5])
def test_an_update_of_two_processes_is_replayed_by_two(folder: Path, step: int) -> None:
    """From the model that it began with, and from a checkpoint."""
    words = ["-m", "atlas", "replay", str(folder / "grpo"), str(step)]
    assert "the same, bit for bit" in in_two(words)


def cut_short(run: Path) -> None:
    """Take a finished run back to its newest checkpoint."""
    assert list((run / "checkpoints").glob("step_*"))
    shutil.rmtree(run / "final")
    shutil.rmtree(run / "stages")


def test_a_checkpoint_of_two_processes_is_gone_on_with_by_one(folder: Path) -> None:
    """And of one engine by another: the run of ZeRO-3 ends as the run that was never stopped."""
    for name in ("grpo_zero3", "sft_fsdp"):
        run = folder / name
        cut_short(run)
        source, *overrides = words(SHARED[name][0], folder, name, num_processes=1)
        with pytest.raises(AtlasError, match=r"_accumulation_steps was 2, is 4.*--override"):
            train(source, overrides)
        train(source, overrides, override_config=True)
        same_weights(run / "final", folder / f"{ALONE[name]}_alone" / "final")
        assert "go on after step" in (run / "training.log").read_text()


def test_a_checkpoint_of_one_process_is_gone_on_with_by_two(folder: Path) -> None:
    """In DDP and in FSDP; what a step learns from must stay."""
    jobs, whole = [], folder / "whole"
    for name, how in (("sft", "engine=fsdp"), ("grpo", "engine=ddp")):
        run = folder / f"{name}_alone"
        shutil.copytree(run / "final", whole / name)
        cut_short(run)
        job, _ = SHARED[name]
        jobs.append(words(job, folder, run.name, how, num_processes=2))
    source, *overrides = (word for word in jobs[0] if word != "engine=fsdp")
    with pytest.raises(AtlasError, match=r"with 8 examples a step.* make it 4; give gradient"):
        train(source, overrides, override_config=True)
    together(jobs)
    for name in ("sft", "grpo"):
        run = folder / f"{name}_alone"
        same_weights(run / "final", whole / name)
        assert "go on after step" in (run / "training.log").read_text()
