"""Two processes of one thread each beside one of one thread: how much faster, and what is lost.

    python benchmarks/scaling.py                       about four minutes on two quiet cores
    python benchmarks/scaling.py --engine fsdp

The same GRPO job on the base model, task for task and sample for sample: processes divide the
prompts of a step among themselves. Ideal is half the time; what is lost of that is broken down:

    rollout     the slower half of the prompts takes more than half of the time
    update      micro-batches don't divide evenly, gradients are exchanged
    rest        what every process does for itself, or only the first: metrics, files

Each side runs several times, in turns; medians are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import cast

import torch
from rich.console import Console
from rich.table import Table

from atlas.config.grpo import GRPOConfig
from atlas.config.parts.engine import EngineChoice
from atlas.config.resolve import resolve
from atlas.data.tasks import mixed_tasks
from atlas.parallel.distributed import joined
from atlas.run.progress import Silent
from atlas.run.run_dir import RunDir
from atlas.run.stopping import StopRequest
from atlas.training.grpo import train_grpo

console = Console(highlight=False, width=120)
FAMILIES = ("chain_sum", "basic_arithmetic", "leg_counting")
WARM_UP = 1
"""Steps at the beginning that are not counted."""


def main() -> None:
    """Measure both sides in turns and print what was found; as a worker, train once."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", default="auto", choices=("auto", "ddp", "fsdp"))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--prompts", type=int, default=16, help="of a step")
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64, help="of a teaching, at most")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        train(options, Path(options.worker))
        return
    found: dict[int, list[dict[str, float]]] = {1: [], options.processes: []}
    with tempfile.TemporaryDirectory(prefix="atlas-scaling-") as folder:
        for repeat in range(options.repeats):
            for number, measured in found.items():
                measured.append(seconds(Path(folder) / f"{number}-{repeat}", number))
    show(found[1], found[options.processes], options.processes)


def seconds(folder: Path, number: int) -> dict[str, float]:
    """Train once in so many processes; return the mean seconds of a step by phase."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *("--nproc-per-node", str(number), *sys.argv, "--worker", str(folder)),
    ]
    subprocess.run(command, env=environment, check=True)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "time/update" in line][WARM_UP:]
    stamps = [line["time"] for line in lines if "time/update" in line][WARM_UP - 1 :]
    mean = {name: statistics.mean(line[f"time/{name}"] for line in steps) for name in PHASES}
    whole = (stamps[-1] - stamps[0]) / (len(stamps) - 1)
    return {**mean, "step": whole, "rest": whole - mean["rollout"] - mean["update"]}


PHASES = ("rollout", "update", "waiting")


def train(options: argparse.Namespace, folder: Path) -> None:
    """Train once, as one of the processes."""
    torch.set_num_threads(1)
    with joined(timeout=300) as ranks:
        config = resolve(
            GRPOConfig(
                output_dir=str(folder),
                model_name_or_path="base",
                student_model="base",
                engine=cast(EngineChoice, options.engine),
                prompts_per_step=options.prompts,
                num_generations=options.generations,
                max_new_tokens=options.tokens,
                student_max_new_tokens=options.tokens,
                max_steps=WARM_UP + options.steps,
                length_probe_samples=0,
                canary_tasks=0,
                max_clipped_share=1.0,
                learning_rate=1e-5,
                num_threads=1,
            ),
            world_size=ranks.size,
        )
        run = ranks.on_main(lambda: RunDir.create(folder, "grpo"), "the run directory")
        tasks = mixed_tasks(FAMILIES, options.prompts * (WARM_UP + options.steps), seed=0)
        train_grpo(run, config, tasks, progress=Silent(), stop=StopRequest(), ranks=ranks)


def show(one: list[dict[str, float]], several: list[dict[str, float]], number: int) -> None:
    """Print the ratio, and where the rest of the ideal went."""
    before, after = (
        {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        for runs in (one, several)
    )
    table = Table(title=f"Seconds a step, medians of {len(one)} runs ({time.strftime('%Y-%m-%d')})")
    for column in ("", "1 process", f"{number} processes", "ideal", "lost", "share of the step"):
        table.add_column(column, justify="right")
    for name in ("rollout", "update", "rest", "step"):
        ideal = before[name] / number
        lost = after[name] - ideal
        table.add_row(
            name,
            f"{before[name]:.2f}",
            f"{after[name]:.2f}",
            f"{ideal:.2f}",
            f"{lost:+.2f}",
            f"{100 * lost / after['step']:+.0f} %",
        )
    console.print(table)
    ratios = [a["step"] / b["step"] for a, b in zip(one, several, strict=True)]
    console.print(
        f"{number} processes are {before['step'] / after['step']:.2f} times as fast as one "
        f"(single pairs: {min(ratios):.2f} to {max(ratios):.2f}); the first one waits "
        f"{after['waiting']:.2f} s a step for the others"
    )


if __name__ == "__main__":
    main()
