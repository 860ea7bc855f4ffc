"""``atlas evaluate``: what teachers are worth on held-out tasks, with 95 % intervals."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atlas.cli.options import Config, Fresh, command_app
from atlas.cli.terminal import say, working
from atlas.cli.train.claims import show_claims
from atlas.cli.train.held_out import run_of, words_of
from atlas.run.progress import Progress
from atlas.run.run_dir import RunDir
from atlas.run.stopping import StopRequest

if TYPE_CHECKING:
    from atlas.config import EvaluateConfig
    from atlas.types import Task

app = command_app()


@app.command()
def evaluate(
    overrides: Annotated[
        list[str],
        typer.Argument(
            metavar="TEACHER | RUN | KEY=VALUE",
            help="Model folders, or a run of GRPO, then settings",
            default_factory=list,
            show_default=False,
        ),
    ],
    config: Config = "evaluate",
    fresh: Fresh = False,
) -> None:
    """Measure teachers on held-out tasks: the student alone, and with each of them."""
    from atlas.config import EvaluateConfig, load_config
    from atlas.config.parts.student import refuse_unready
    from atlas.models.presence import refuse_missing
    from atlas.run.config_file import keep_config
    from atlas.run.prompts_kept import check_prompts

    own = run_of(overrides)
    words = with_teachers(overrides)
    if own is not None:
        words = [*words_of(own), *(word for word in overrides if "=" in word)]
    settings = load_config(EvaluateConfig, config, words)
    models = [*settings.teachers, *filter(None, [settings.student_here])]
    for folder in models:
        refuse_missing(folder)
    refuse_unready(settings)
    check_prompts(settings.prompts, settings.output_dir)

    import torch

    from atlas.evaluation.measuring import arm_names, forget_outdated
    from atlas.models.checkpoints import check_model

    arms = dict(zip(arm_names(settings.teachers), settings.teachers, strict=True))
    tasks = _tasks(settings)
    for folder in models:
        check_model(folder)
    if settings.num_threads:
        torch.set_num_threads(settings.num_threads)
    run = RunDir.create(settings.output_dir, "evaluate", fresh=fresh)
    keep_config(settings, run.config)
    same = "The same command" if own is None else f"atlas evaluate {own.path}"
    hint = f"{same} goes on from where it stopped; --fresh starts over."
    for name, folder in {**arms, "student": settings.student_name}.items():
        say(f"{name}: {named(folder)}")
    with run.lock(), working(hint, run) as (stop, bar_of):
        forget_outdated(run, settings, arms, tasks, say=say)
        if not run.stage_done("evaluate"):
            _measure(run, settings, arms, tasks, bar_of, stop)
    if own is not None:
        from atlas.report.card import write_cards

        write_cards(own.path)
    show_claims(run)
    say(f"report:  {run.report}")
    say(f"pairs:   {run.pairs}")


def named(folder: str) -> str:
    """Return a model's name, of a link with what it points to now."""
    place = Path(folder)
    return f"{folder} -> {os.path.relpath(place.resolve())}" if place.is_symlink() else folder


def with_teachers(words: Sequence[str]) -> list[str]:
    """Return a command line's words as overrides: those without ``=`` are teachers."""
    quoted = ",".join(f"'{word}'" for word in words if "=" not in word)
    overrides = [word for word in words if "=" in word]
    return [*overrides, f"teachers=[{quoted}]"] if quoted else overrides


def _tasks(config: EvaluateConfig) -> list[Task]:
    from atlas.data.task_file import read_tasks
    from atlas.data.tasks import mixed_tasks
    from atlas.rewards.verifiers import accepts_reference
    from atlas.run.seeding import derive_seed

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
    bar_of: Callable[[str], Progress],
    stop: StopRequest,
) -> None:
    from atlas.evaluation.measuring import evaluate as measure
    from atlas.report import write_report
    from atlas.run.seeding import seed_everything

    seed_everything(config.seed, "evaluate")
    started = time.monotonic()
    summary = measure(run_dir, config, arms, tasks, progress=bar_of("evaluate"), stop=stop)
    run_dir.finish_stage("evaluate", summary, time.monotonic() - started)
    write_report(run_dir.path)
