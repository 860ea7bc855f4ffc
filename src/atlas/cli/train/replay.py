"""``atlas replay``: the update of a step again, from the rollouts that a run kept."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from atlas.cli.options import Json, command_app
from atlas.cli.terminal import say, show_json
from atlas.errors import AtlasError
from atlas.parallel.world import world

app = command_app()


@app.command()
def replay(
    run: Annotated[Path, typer.Argument(help="A run directory of grpo or quickstart")],
    step: Annotated[int, typer.Argument(help="Optimiser step, from 1")],
    as_json: Json = False,
) -> None:
    """Take the update of a step again and compare; exit code 1 where it isn't the same."""
    from atlas.run.rollouts import rollouts_run, step_rows

    found = rollouts_run(run)
    step_rows(found.rollouts, step, ["step"])

    from atlas.cli.train.resume import begun_in
    from atlas.config import GRPOConfig, load_config
    from atlas.run.run_dir import RunDir
    from atlas.yaml_file import read_yaml

    settings = read_yaml(found.config)
    absolute = RunDir(path=found.path.absolute(), kind=found.kind)
    with contextlib.suppress(AtlasError):  # moved: its model may be where it was, all the same
        os.chdir(begun_in(found, settings))
    _check_processes(run, step, settings)
    found = absolute
    config = load_config(GRPOConfig, found.config, world_size=world().size)

    from atlas.cli.train.job import planned, together
    from atlas.run.seeding import seed_everything
    from atlas.training.replay import replay as replayed

    def tell(line: str) -> None:
        if not as_json:
            say(line)

    with together(config) as ranks:
        plan = ranks.on_main(lambda: planned(config, ranks.size), "the plan")
        config = config if plan is None else plan.settled(config)
        seed_everything(config.seed, "grpo")
        result = replayed(found, config, step, tell, ranks=ranks)
    if as_json:
        shown: dict[str, Any] = {
            **{"step": result.step, "began": result.began, "same": result.same},
            **{"chain": result.chain, "logged_chain": result.logged_chain},
            **{"metrics": dict(result.metrics)},
        }
        show_json(shown)
    else:
        say(f"replayed from {result.began}; chain after step {step}:")
        say(f"  now     {result.chain}")
        say(f"  logged  {result.logged_chain or 'nothing'}")
        say(
            "the same, bit for bit"
            if result.same
            else "not the same: another processor, number of threads or processes, other packages, "
            "or another Atlas"
        )
        for name, value in sorted(result.metrics.items()):
            logged = result.logged.get(name)
            if not result.same and logged is not None and logged != value:
                say(f"  {name}: now {value:.6g}, logged {logged:.6g}")
    sys.exit(0 if result.same else 1)


def _check_processes(run: Path, step: int, settings: Mapping[str, Any]) -> None:
    """Refuse to replay with another number of processes than the run had.

    Raises:
        AtlasError: It is another, with the command that starts as many.
    """
    keys = ("prompts_per_step", "per_device_train_batch_size", "gradient_accumulation_steps")
    prompts, batch, passes = (int(settings.get(key) or 0) for key in keys)
    before, now = prompts // max(batch * passes, 1) or 1, world().size
    if before != now:
        raise AtlasError(
            f"{run} was trained by {before} process(es), this is {now}, whose sums differ; run: "
            f"torchrun --nproc-per-node {before} -m atlas replay {run} {step}"
        )
