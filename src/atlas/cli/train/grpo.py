"""``atlas grpo``: reinforce a teacher on the tasks of the configured source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atlas.cli.options import (
    DryRun,
    Fresh,
    OverrideConfig,
    Overrides,
    PlanJson,
    Source,
    command_app,
)
from atlas.parallel.world import world
from atlas.run.progress import Progress
from atlas.run.run_dir import RunDir

app = command_app()


@app.command()
def grpo(
    config: Source,
    overrides: Overrides,
    fresh: Fresh = False,
    override_config: OverrideConfig = False,
    dry_run: DryRun = False,
    as_json: PlanJson = False,
) -> None:
    """Reinforce a teacher for what its teaching does to a frozen student."""
    from atlas.config import GRPOConfig, load_config

    if dry_run or as_json:
        from atlas.cli.train.dry_run import show_plan

        show_plan("grpo", config, overrides, as_json=as_json)
        return
    settings = load_config(GRPOConfig, config, overrides, world_size=world().size)

    from atlas.cli.train import job
    from atlas.cli.train.held_out import keep_held_out, measure_own

    job.check(settings, "grpo")

    from atlas.data.training_sets import RLSet, rl_set
    from atlas.training.grpo import train_grpo

    def read(begun: job.StartedRun, reading: Progress) -> RLSet:
        return rl_set(job.dataset(settings, "rl", begun, reading))

    def learn(run: RunDir, config: GRPOConfig, made: RLSet, **common: Any) -> Mapping[str, float]:
        if world().is_main:
            keep_held_out(run, made.held)
        return train_grpo(run, config, made.tasks, **common)

    job.train(
        settings,
        "grpo",
        read=read,
        learn=learn,
        noun="tasks",
        fresh=fresh,
        override=override_config,
        overrides=overrides,
    )
    if settings.evaluate_tasks and settings.environment == "teaching" and world().is_main:
        measure_own(RunDir.open(settings.output_dir, "grpo"), settings)
