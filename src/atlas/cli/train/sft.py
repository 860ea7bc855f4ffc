"""``atlas sft``: warm a teacher up on the sessions of the configured source."""

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
def sft(
    config: Source,
    overrides: Overrides,
    fresh: Fresh = False,
    override_config: OverrideConfig = False,
    dry_run: DryRun = False,
    as_json: PlanJson = False,
) -> None:
    """Warm a teacher up on recorded sessions, or on a data set of the hub."""
    from atlas.config import SFTConfig, load_config

    if dry_run or as_json:
        from atlas.cli.train.dry_run import show_plan

        show_plan("sft", config, overrides, as_json=as_json)
        return
    settings = load_config(SFTConfig, config, overrides, world_size=world().size)

    from atlas.cli.train import job

    job.check(settings, "sft")

    from atlas.data.training_sets import SFTSet, sft_set, teachers_renderer
    from atlas.run.prompts_kept import keep_prompts
    from atlas.training.sft import train_sft

    def read(begun: job.StartedRun, reading: Progress) -> SFTSet:
        found = job.dataset(settings, "sft", begun, reading)
        renderer = teachers_renderer(
            settings, begun.run.prompts, say=begun.run.teller("sft", reading)
        )
        made = sft_set(
            found,
            renderer,
            max_length=settings.max_seq_length,
            weigh_by=settings.example_weights or (),
        )
        keep_prompts(begun.run.prompts, renderer.prompts)
        return made

    def learn(run: RunDir, config: SFTConfig, made: SFTSet, **common: Any) -> Mapping[str, float]:
        return train_sft(run, config, made.train, made.held, **common)

    job.train(
        settings,
        "sft",
        read=read,
        learn=learn,
        noun="examples",
        fresh=fresh,
        override=override_config,
        overrides=overrides,
    )
