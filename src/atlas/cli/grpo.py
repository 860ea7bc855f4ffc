"""``atlas grpo``: reinforce a teacher on the tasks of the configured source."""

from __future__ import annotations

import time
from collections.abc import Sequence

from atlas.cli.dry_run import run as plan
from atlas.cli.terminal import StageBar, display, stoppable
from atlas.cli.training import HINT, Begun, begin, close, keep, locked, together
from atlas.config.grammar.compose import load_config
from atlas.config.grpo import GRPOConfig
from atlas.data.load import load_trace_dataset
from atlas.data.training_sets import RLSet, rl_set
from atlas.parallel.world import world
from atlas.run.seeding import seed_everything
from atlas.training.grpo import train_grpo


def run(source: str, overrides: Sequence[str], *, fresh: bool, dry_run: bool = False) -> None:
    """Run the command."""
    if dry_run:
        plan("grpo", source, overrides)
        return
    config = load_config(GRPOConfig, source, overrides, world_size=world().size)
    with together(config) as ranks:
        begun = ranks.on_main(lambda: begin(config, "grpo", fresh=fresh), "the run directory")
        with locked(begun.run, ranks), stoppable(HINT) as stop, display() as bars:
            started = time.monotonic()
            reading = StageBar(bars, "read")
            made = ranks.on_main(lambda: _read(config, begun, reading), "the data")
            seed_everything(config.seed, "grpo")
            bar = StageBar(bars, "grpo")
            figures = train_grpo(
                begun.run, config, made.tasks, progress=bar, stop=stop, ranks=ranks
            )
            if ranks.is_main:
                begun.run.finish_stage("grpo", figures, time.monotonic() - started)
        if ranks.is_main:
            close(begun.run, "tasks", figures)


def _read(config: GRPOConfig, begun: Begun, reading: StageBar) -> RLSet:
    """Read the tasks, and write down which sessions they are from."""
    dataset = load_trace_dataset(config, "rl", only_sessions=begun.sessions)
    made = rl_set(dataset)
    reading.begin(dataset.rl.num_read)
    reading.advance(dataset.rl.num_read, note=dataset.source)
    keep(begun, config, made.lineage)
    return made
