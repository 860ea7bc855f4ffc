"""``atlas sft``: warm a teacher up on the sessions of the configured source."""

from __future__ import annotations

import time
from collections.abc import Sequence

from atlas.cli.dry_run import run as plan
from atlas.cli.terminal import StageBar, display, stoppable
from atlas.cli.training import HINT, Begun, begin, close, keep, locked, together
from atlas.config.grammar.compose import load_config
from atlas.config.sft import SFTConfig
from atlas.data.load import load_trace_dataset
from atlas.data.training_sets import SFTSet, sft_set
from atlas.models.checkpoints import load_tokenizer
from atlas.parallel.world import world
from atlas.run.seeding import seed_everything
from atlas.training.sft import train_sft


def run(source: str, overrides: Sequence[str], *, fresh: bool, dry_run: bool = False) -> None:
    """Run the command."""
    if dry_run:
        plan("sft", source, overrides)
        return
    config = load_config(SFTConfig, source, overrides, world_size=world().size)
    with together(config) as ranks:
        begun = ranks.on_main(lambda: begin(config, "sft", fresh=fresh), "the run directory")
        with locked(begun.run, ranks), stoppable(HINT) as stop, display() as bars:
            started = time.monotonic()
            reading = StageBar(bars, "read")
            made = ranks.on_main(lambda: _read(config, begun, reading), "the data")
            seed_everything(config.seed, "sft")
            figures = train_sft(
                begun.run,
                config,
                made.train,
                made.held,
                progress=StageBar(bars, "sft"),
                stop=stop,
                ranks=ranks,
            )
            if ranks.is_main:
                begun.run.finish_stage("sft", figures, time.monotonic() - started)
        if ranks.is_main:
            close(begun.run, "examples", figures)


def _read(config: SFTConfig, begun: Begun, reading: StageBar) -> SFTSet:
    """Read the examples, and write down which sessions they are from."""
    dataset = load_trace_dataset(config, "sft", only_sessions=begun.sessions)
    tokenizer = load_tokenizer(config.model_name_or_path)
    made = sft_set(dataset, tokenizer, max_length=config.max_seq_length)
    reading.begin(dataset.sft.num_read)
    reading.advance(dataset.sft.num_read, note=dataset.source)
    keep(begun, config, made.lineage)
    return made
