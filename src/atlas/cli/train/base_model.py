"""``atlas base-model``: train the base model again, and say how far it is from the shipped one."""

from __future__ import annotations

import time

from atlas.cli.options import Config, Fresh, Overrides, command_app
from atlas.cli.terminal import say, working
from atlas.errors import AtlasError
from atlas.run.run_dir import RunDir

app = command_app()


@app.command()
def base_model(overrides: Overrides, config: Config = "base_model", fresh: Fresh = False) -> None:
    """Train the small base model from random weights and compare it with the shipped one."""
    from atlas.config import BaseModelConfig, load_config
    from atlas.run.config_file import keep_config

    settings = load_config(BaseModelConfig, config, overrides)
    import torch  # before a run is begun: it may be missing

    run = RunDir.create(settings.output_dir, "base_model", fresh=fresh)
    if run.stage_done("base_model"):
        raise AtlasError(f"{run.path} is finished; --fresh trains again from random weights")
    keep_config(settings, run.config)

    from atlas.from_scratch.training.base_model import train_base_model

    torch.set_num_threads(settings.num_threads)
    hint = "The same command goes on from the last checkpoint."
    with run.lock(), working(hint, run) as (stop, bar_of):
        started = time.monotonic()
        figures = train_base_model(run, settings, progress=bar_of("base model"), stop=stop)
        run.finish_stage("base_model", figures, time.monotonic() - started)
    for name, value in figures.items():
        say(f"{name}: {value}")
    shipped = figures.get("shipped_sha256")
    if shipped == figures["sha256"]:
        say("The weights are those that ship with the package, bit for bit.")
    elif shipped:
        say("The weights differ from those that ship with the package.")
    say(f"model: {run.final}")
