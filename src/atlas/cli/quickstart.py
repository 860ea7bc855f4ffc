"""``atlas quickstart``: run the stages, then print the claims and where everything is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from atlas.cli.claims import show_claims
from atlas.cli.terminal import StageBar, console, display, stoppable
from atlas.config.grammar.compose import load_config
from atlas.config.quickstart import QuickstartConfig
from atlas.quickstart.run import prepare, run_stages
from atlas.run.run_dir import RunDir


def run(overrides: Sequence[str], *, fresh: bool, source: str = "quickstart") -> None:
    """Run the command."""
    config = load_config(QuickstartConfig, source, overrides)
    if config.num_threads:
        torch.set_num_threads(config.num_threads)
    run_dir = prepare(config, fresh=fresh)
    hint = "The same command goes on from where it stopped; --fresh starts over."
    with run_dir.lock(), stoppable(hint) as stop, display() as bars:
        run_stages(run_dir, config, progress_of=lambda name: StageBar(bars, name), stop=stop)
    show(run_dir, Path(config.results_dir))


def show(run_dir: RunDir, results: Path) -> None:
    """Print the claims of a finished run and the paths."""
    show_claims(run_dir)
    console.print(f"report:      {run_dir.report}", markup=False, soft_wrap=True)
    console.print(f"checkpoint:  {results / 'rl_checkpoint'}", markup=False, soft_wrap=True)
    teacher = "" if str(results) == "results" else f" --teacher {results / 'rl_checkpoint'}"
    hint = f'try it:      .venv/bin/atlas teach "Calculate 7 - 3 + 5."{teacher}'
    console.print(hint, markup=False, soft_wrap=True)
