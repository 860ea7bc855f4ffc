"""``atlas sft``: warm a teacher up on the sessions of the configured source."""

from __future__ import annotations

import time
from collections.abc import Sequence

from atlas.checkpoints import load_tokenizer
from atlas.commands.dry_run import run as plan
from atlas.commands.terminal import StageBar, display, stoppable
from atlas.commands.training import HINT, begin, close, keep
from atlas.config.compose import load_config
from atlas.config.sft import SFTConfig
from atlas.runtime.seeding import seed_everything
from atlas.sources.load import load_trace_dataset
from atlas.sources.training_sets import sft_set
from atlas.training.sft import train_sft


def run(source: str, overrides: Sequence[str], *, fresh: bool, dry_run: bool = False) -> None:
    """Run the command."""
    if dry_run:
        plan("sft", source, overrides)
        return
    config = load_config(SFTConfig, source, overrides)
    begun = begin(config, "sft", fresh=fresh)
    with begun.run.lock(), stoppable(HINT) as stop, display() as bars:
        started = time.monotonic()
        reading = StageBar(bars, "read")
        dataset = load_trace_dataset(config, "sft", only_sessions=begun.sessions)
        tokenizer = load_tokenizer(config.model_name_or_path)
        made = sft_set(dataset, tokenizer, max_length=config.max_seq_length)
        reading.begin(dataset.sft.num_read)
        reading.advance(dataset.sft.num_read, note=dataset.source)
        keep(begun, config, made.lineage)
        seed_everything(config.seed, "sft")
        bar = StageBar(bars, "sft")
        figures = train_sft(begun.run, config, made.train, made.held, progress=bar, stop=stop)
        begun.run.finish_stage("sft", figures, time.monotonic() - started)
    close(begun.run, "examples", figures)
