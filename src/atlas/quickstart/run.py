"""Runs the stages that have not finished yet, and publishes what they made.

Input: a configuration. Output: a finished run directory, and the folders of the guide's name
(``results/sft_checkpoint``, ``results/rl_checkpoint``, ``results/logs``) as links into it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from atlas.config.quickstart import QuickstartConfig
from atlas.config.resolve import keep_config
from atlas.datasets.tasks import check_family
from atlas.errors import AtlasError
from atlas.quickstart.stages import STAGES, Quickstart
from atlas.runtime.files import require_free_space
from atlas.runtime.precision import set_matmul_precision
from atlas.runtime.progress import Progress
from atlas.runtime.run_dir import RunDir
from atlas.runtime.seeding import seed_everything
from atlas.runtime.stopping import StopRequest

# What a run writes (PostgreSQL, checkpoints, rollouts), generously.
_RUN_BYTES = 300_000_000

# What lies where, for those who follow the guide: name under results/ -> path in the run.
PUBLISHED = {
    "sft_checkpoint": "sft/final",
    "rl_checkpoint": "grpo/final",
    "logs/train.log": "grpo/training.log",
    "logs/tensorboard_events": "grpo/tensorboard",
}


def prepare(config: QuickstartConfig, *, fresh: bool) -> RunDir:
    """Make the run directory, or take up the one that is there.

    Raises:
        AtlasError: A task family doesn't exist, the directory can't be used, or it was made with
            another configuration.
    """
    for family in config.families:
        check_family(family)
    _refuse_foreign(Path(config.results_dir))
    require_free_space(Path(config.output_dir), _RUN_BYTES)
    run = RunDir.create(config.output_dir, "quickstart", fresh=fresh)
    keep_config(config, run.config)
    return run


def run_stages(
    run: RunDir,
    config: QuickstartConfig,
    *,
    progress_of: Callable[[str], Progress],
    stop: StopRequest,
) -> None:
    """Run every stage that hasn't finished.

    Args:
        run: Locked by the caller.
        config: The run's.
        progress_of: Gives the progress display of a stage, by its name.
        stop: Asked between units of work.

    Raises:
        Stopped: The user asked to stop; the next call goes on.
    """
    set_matmul_precision(config.float32_matmul_precision)
    job = Quickstart(run=run, config=config)
    for name, stage in STAGES.items():
        progress = progress_of(name)
        if run.stage_done(name):
            progress.begin(1)
            progress.advance(note="done before")
            continue
        stop.check()
        seed_everything(config.seed, name)
        started = time.monotonic()
        summary = stage(job, progress, stop)
        run.finish_stage(name, summary, time.monotonic() - started)
    publish(run.path, Path(config.results_dir))


def publish(run: Path, results: Path) -> None:
    """Link what the run made to the places that the guide names; older links are replaced."""
    for name, target in PUBLISHED.items():
        link = results / name
        link.parent.mkdir(parents=True, exist_ok=True)
        temporary = link.with_name(f".{link.name}.new")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(os.path.relpath((run / target).absolute(), link.parent.resolve()))
        temporary.replace(link)


def _refuse_foreign(results: Path) -> None:
    for folder in {(results / name).parent for name in PUBLISHED}:
        blocked = next((p for p in (folder, *folder.parents) if p.exists()), folder)
        if not blocked.is_dir() or not os.access(blocked, os.W_OK):
            raise AtlasError(
                f"{blocked} is a file or can't be written, but results_dir {results} needs it; "
                "move it away, or set results_dir to another folder"
            )
    for name in PUBLISHED:
        link = results / name
        if link.exists() and not link.is_symlink():
            raise AtlasError(
                f"{link} is there and isn't a link that Atlas made; move it away, or set "
                "results_dir to another folder"
            )
