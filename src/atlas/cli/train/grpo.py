"""``atlas grpo``: reinforce a teacher on the tasks of the configured source."""

from __future__ import annotations

import time

from atlas.cli.options import DryRun, Fresh, OverrideConfig, Overrides, Source, command_app
from atlas.cli.terminal import working
from atlas.parallel.world import world

app = command_app()


@app.command()
def grpo(
    config: Source,
    overrides: Overrides,
    fresh: Fresh = False,
    override_config: OverrideConfig = False,
    dry_run: DryRun = False,
) -> None:
    """Reinforce a teacher for what its teaching does to a frozen student."""
    from atlas.config import GRPOConfig, load_config

    if dry_run:
        from atlas.cli.train.dry_run import show_plan

        show_plan("grpo", config, overrides)
        return
    settings = load_config(GRPOConfig, config, overrides, world_size=world().size)

    from atlas.cli.train import job

    job.check(settings, "grpo")

    from atlas.data.training_sets import RLSet, rl_set
    from atlas.run.seeding import seed_everything
    from atlas.training.grpo import train_grpo

    def read() -> RLSet:
        made = rl_set(job.dataset(settings, "rl", begun, bar_of("read")))
        job.keep(begun, settings, made.lineage)
        return made

    with job.together(settings) as ranks:
        begun = ranks.on_main(
            lambda: job.begin(settings, "grpo", fresh=fresh, override=override_config),
            "the run directory",
        )
        run = begun.run
        with job.locked(run, ranks), working(job.HINT, run) as (stop, bar_of):
            started = time.monotonic()
            made = ranks.on_main(read, "the data")
            seed_everything(settings.seed, "grpo")
            bar = bar_of("grpo")
            figures = train_grpo(run, settings, made.tasks, progress=bar, stop=stop, ranks=ranks)
            if ranks.is_main:
                run.finish_stage("grpo", figures, time.monotonic() - started)
        if ranks.is_main:
            job.close(run, "tasks", figures)
