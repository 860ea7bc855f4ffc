"""Runs the stages that have not finished yet, and publishes what they made.

Input: a configuration. Output: a finished run directory, and the folders of the guide's name
(``results/sft_checkpoint``, ``results/rl_checkpoint``, ``results/logs``) as links into it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from atlas.config.quickstart import QuickstartConfig
from atlas.data.tasks import check_family
from atlas.evaluation.measuring import forget_outdated
from atlas.machine.precision import set_matmul_precision
from atlas.models.identity import model_digests
from atlas.quickstart.stages import STAGES, Quickstart, measured
from atlas.run import stages as stages_of_a_job
from atlas.run.config_file import keep_config
from atlas.run.files import require_free_space
from atlas.run.inputs import keep_inputs
from atlas.run.links import offer, refuse_foreign
from atlas.run.progress import Progress
from atlas.run.run_dir import RunDir
from atlas.run.stopping import StopRequest

# What a run writes (PostgreSQL, checkpoints, rollouts), generously.
_RUN_BYTES = 300_000_000

# What lies where, for those who follow the guide: name under results/ -> path in the run.
PUBLISHED = {
    "sft_checkpoint": "sft/final",
    "rl_checkpoint": "grpo/final",
    "logs/train.log": "grpo/training.log",
    "logs/tensorboard_events": "grpo/tensorboard",
}


def prepare(config: QuickstartConfig, *, fresh: bool, override: bool = False) -> RunDir:
    """Make the run directory, or take up the one that is there.

    Raises:
        AtlasError: A task family doesn't exist, the directory can't be used, or it was made with
            another configuration.
    """
    for family in config.families:
        check_family(family)
    refuse_foreign(Path(config.results_dir), PUBLISHED, "results_dir")
    require_free_space(Path(config.output_dir), _RUN_BYTES)
    run = RunDir.create(config.output_dir, "quickstart", fresh=fresh)
    keep_config(config, run.config, override=override)
    named = {"model_name_or_path": config.model_name_or_path}
    keep_inputs(run.path, model_digests(named), named)
    return run


def run_stages(
    run: RunDir,
    config: QuickstartConfig,
    *,
    progress_of: Callable[[str], Progress],
    stop: StopRequest,
    meant: bool = True,
) -> tuple[bool, str]:
    """Run every stage that hasn't finished, then link what the run made to the guide's places.

    Args:
        run: Locked by the caller.
        progress_of: Gives the progress display of a stage, by its name.
        meant: The links are to be this run's, whatever is there.

    Returns:
        As `offer`.

    Raises:
        Stopped: The user asked to stop; the next call goes on.
    """
    set_matmul_precision(config.float32_matmul_precision)
    job = Quickstart(run=run, config=config)
    stages = {name: partial(stage, job) for name, stage in STAGES.items()}
    stages_of_a_job.run_stages(
        run,
        stages,
        seed=config.seed,
        progress_of=progress_of,
        stop=stop,
        outdated={"evaluate": lambda say: forget_outdated(run, *measured(job), say=say)},
    )
    place = Path(config.results_dir)
    return offer(run.path, place, PUBLISHED, model="rl_checkpoint", meant=meant)
