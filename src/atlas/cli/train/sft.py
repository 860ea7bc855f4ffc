"""``atlas sft``: warm a teacher up on the sessions of the configured source."""

from __future__ import annotations

import time

from atlas.cli.options import DryRun, Fresh, OverrideConfig, Overrides, Source, command_app
from atlas.cli.terminal import working
from atlas.parallel.world import world

app = command_app()


@app.command()
def sft(
    config: Source,
    overrides: Overrides,
    fresh: Fresh = False,
    override_config: OverrideConfig = False,
    dry_run: DryRun = False,
) -> None:
    """Warm a teacher up on recorded sessions, or on a data set of the hub."""
    from atlas.config import SFTConfig, load_config

    if dry_run:
        from atlas.cli.train.dry_run import show_plan

        show_plan("sft", config, overrides)
        return
    settings = load_config(SFTConfig, config, overrides, world_size=world().size)

    from atlas.cli.train import job

    job.check(settings, "sft")

    from atlas.data.training_sets import SFTSet, sft_set
    from atlas.models.checkpoints import load_tokenizer
    from atlas.run.seeding import seed_everything
    from atlas.training.sft import train_sft

    def read() -> SFTSet:
        dataset = job.dataset(settings, "sft", begun, bar_of("read"))
        tokenizer = load_tokenizer(settings.model_name_or_path)
        made = sft_set(dataset, tokenizer, max_length=settings.max_seq_length)
        job.keep(begun, settings, made.lineage)
        return made

    with job.together(settings) as ranks:
        begun = ranks.on_main(
            lambda: job.begin(settings, "sft", fresh=fresh, override=override_config),
            "the run directory",
        )
        run = begun.run
        with job.locked(run, ranks), working(job.HINT, run) as (stop, bar_of):
            started = time.monotonic()
            made = ranks.on_main(read, "the data")
            seed_everything(settings.seed, "sft")
            bar = bar_of("sft")
            figures = train_sft(
                run, settings, made.train, made.held, progress=bar, stop=stop, ranks=ranks
            )
            if ranks.is_main:
                run.finish_stage("sft", figures, time.monotonic() - started)
        if ranks.is_main:
            job.close(run, "examples", figures)
