"""``atlas evaluate``: what teachers are worth on held-out tasks, with 95 % intervals."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from atlas.cli.claims import show_claims
from atlas.cli.terminal import StageBar, console, display, stoppable
from atlas.config.evaluate import EvaluateConfig
from atlas.config.grammar.compose import load_config
from atlas.data.task_file import read_tasks
from atlas.data.tasks import mixed_tasks
from atlas.evaluation.measuring import arm_names, evaluate
from atlas.models.checkpoints import check_model
from atlas.report import write_report
from atlas.rewards.verifiers import accepts_reference
from atlas.run.config_file import keep_config
from atlas.run.progress import Progress
from atlas.run.run_dir import RunDir
from atlas.run.seeding import derive_seed, seed_everything
from atlas.run.stopping import StopRequest
from atlas.types import Task


def with_teachers(words: Sequence[str]) -> list[str]:
    """Return a command line's words as overrides: those without ``=`` are teachers."""
    quoted = ",".join(f"'{word}'" for word in words if "=" not in word)
    overrides = [word for word in words if "=" in word]
    return [*overrides, f"teachers=[{quoted}]"] if quoted else overrides


def run(overrides: Sequence[str], *, fresh: bool, source: str = "evaluate") -> None:
    """Run the command."""
    config = load_config(EvaluateConfig, source, overrides)
    arms = dict(zip(arm_names(config.teachers), config.teachers, strict=True))
    tasks = _tasks(config)
    for folder in (*config.teachers, config.student_model):
        check_model(folder)
    if config.num_threads:
        torch.set_num_threads(config.num_threads)
    run_dir = RunDir.create(config.output_dir, "evaluate", fresh=fresh)
    keep_config(config, run_dir.config)
    hint = "The same command goes on from where it stopped; --fresh starts over."
    with run_dir.lock(), stoppable(hint) as stop, display() as bars:
        if not run_dir.stage_done("evaluate"):
            _measure(run_dir, config, arms, tasks, StageBar(bars, "evaluate"), stop)
    show_claims(run_dir)
    console.print(f"report:  {run_dir.report}", markup=False, soft_wrap=True)
    console.print(f"pairs:   {run_dir.pairs}", markup=False, soft_wrap=True)


def _tasks(config: EvaluateConfig) -> list[Task]:
    if config.tasks:
        return read_tasks(config.tasks, limit=config.num_tasks, check=accepts_reference)
    assert config.num_tasks is not None  # resolved
    seed = derive_seed(config.seed, "held out")
    return mixed_tasks(config.families, config.num_tasks, seed=seed, split="held_out")


def _measure(
    run_dir: RunDir,
    config: EvaluateConfig,
    arms: dict[str, str],
    tasks: Sequence[Task],
    progress: Progress,
    stop: StopRequest,
) -> None:
    seed_everything(config.seed, "evaluate")
    started = time.monotonic()
    summary = evaluate(run_dir, config, arms, tasks, progress=progress, stop=stop)
    run_dir.finish_stage("evaluate", summary, time.monotonic() - started)
    write_report(run_dir.path)
