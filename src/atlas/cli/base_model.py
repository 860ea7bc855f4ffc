"""``atlas base-model``: train the base model again, and say how far it is from the shipped one."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from atlas.cli.terminal import StageBar, console, display, stoppable
from atlas.config.base_model import BaseModelConfig
from atlas.config.grammar.compose import load_config
from atlas.errors import AtlasError
from atlas.from_scratch.training.base_model import train_base_model
from atlas.run.config_file import keep_config
from atlas.run.run_dir import RunDir


def run(overrides: Sequence[str], *, fresh: bool, source: str = "base_model") -> None:
    """Run the command."""
    config = load_config(BaseModelConfig, source, overrides)
    torch.set_num_threads(config.num_threads)
    run_dir = RunDir.create(config.output_dir, "base_model", fresh=fresh)
    if run_dir.stage_done("base_model"):
        raise AtlasError(f"{run_dir.path} is finished; --fresh trains again from random weights")
    keep_config(config, run_dir.config)
    hint = "The same command goes on from the last checkpoint."
    with run_dir.lock(), stoppable(hint) as stop, display() as bars:
        started = time.monotonic()
        figures = train_base_model(
            run_dir, config, progress=StageBar(bars, "base model"), stop=stop
        )
        run_dir.finish_stage("base_model", figures, time.monotonic() - started)
    for name, value in figures.items():
        console.print(f"{name}: {value}")
    shipped = figures.get("shipped_sha256")
    if shipped == figures["sha256"]:
        console.print("The weights are those that ship with the package, bit for bit.")
    elif shipped:
        console.print("The weights differ from those that ship with the package.")
    console.print(f"model: {run_dir.final}")
