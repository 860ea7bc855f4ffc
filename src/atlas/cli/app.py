"""The ``atlas`` command: parse, load the configuration, call the stage, show how it goes.

Everything heavy is imported inside the commands, so that ``atlas --help`` answers at once.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import Annotated

import typer

from atlas.cli.from_scratch_app import prepare_app, register, train_app
from atlas.cli.serve_app import register as register_servers
from atlas.cli.traces_app import arc
from atlas.cli.traces_app import register as register_traces
from atlas.errors import AtlasError, RankError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Overrides = Annotated[list[str] | None, typer.Argument(help="key=value settings, as in seed=1")]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Delete what an earlier run left and start over")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print settings, steps and memory; train nothing")
]
Source = Annotated[
    str, typer.Argument(metavar="CONFIG", help="A YAML file, or the name of one in configs/run")
]

register(app)
register_servers(app)
register_traces(app)


@app.callback()
def atlas() -> None:
    """Train language models that teach."""


@app.command()
def quickstart(overrides: Overrides = None, fresh: Fresh = False) -> None:
    """Collect traces, warm a teacher up, reinforce it, measure it: guide B at small size."""
    from atlas.cli import quickstart as command

    command.run(overrides or [], fresh=fresh)


@app.command()
def collect(overrides: Overrides = None, fresh: Fresh = False) -> None:
    """Let a teacher and a student work through tasks, and record the sessions."""
    from atlas.cli import collect as command

    command.run(overrides or [], fresh=fresh)


@app.command()
def sft(
    config: Source, overrides: Overrides = None, fresh: Fresh = False, dry_run: DryRun = False
) -> None:
    """Warm a teacher up on recorded sessions, or on a data set of the hub."""
    from atlas.cli import sft as command

    command.run(config, overrides or [], fresh=fresh, dry_run=dry_run)


@app.command()
def grpo(
    config: Source, overrides: Overrides = None, fresh: Fresh = False, dry_run: DryRun = False
) -> None:
    """Reinforce a teacher for what its teaching does to a frozen student."""
    from atlas.cli import grpo as command

    command.run(config, overrides or [], fresh=fresh, dry_run=dry_run)


@app.command()
def evaluate(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEACHER... [KEY=VALUE]...", help="Model folders, then settings"),
    ] = None,
    fresh: Fresh = False,
) -> None:
    """Measure teachers on held-out tasks: the student alone, and with each of them."""
    from atlas.cli import evaluate as command

    command.run(command.with_teachers(words or []), fresh=fresh)


@app.command()
def train(
    config: Source, overrides: Overrides = None, fresh: Fresh = False, dry_run: DryRun = False
) -> None:
    """Run the job that a file is for; under torchrun, as one of its processes."""
    from atlas.cli import train as command

    command.run(config, overrides or [], fresh=fresh, dry_run=dry_run)


@app.command()
def launch(
    processes: Annotated[str, typer.Argument(metavar="N", help="Processes, one a GPU")],
    config: Source,
    overrides: Overrides = None,
    fresh: Fresh = False,
    dry_run: DryRun = False,
) -> None:
    """Run the job that a file is for in N processes of this machine, on its GPUs or its CPU."""
    from atlas.cli import launch as command

    command.run(processes, config, overrides or [], fresh=fresh, dry_run=dry_run)


@app.command()
def teach(
    question: Annotated[str, typer.Argument(help="What the student is asked")],
    teacher: Annotated[
        str, typer.Option(help="Model folder or hub id of the teacher")
    ] = "results/rl_checkpoint",
    student: Annotated[str, typer.Option(help="Model folder or hub id of the student")] = "base",
) -> None:
    """Print the student's answer alone, a teaching, and the answer with it."""
    from atlas.cli import teach as command

    command.run(question, teacher=teacher, student=student)


@app.command()
def report(
    run: Annotated[str, typer.Argument(help="A run directory")] = "runs/quickstart",
) -> None:
    """Write the page that shows a run, from its files alone."""
    from atlas.cli import report as command

    command.run(run)


@app.command()
def doctor(
    run: Annotated[
        str | None, typer.Argument(help="A run directory; without it, this machine is looked at")
    ] = None,
) -> None:
    """Say what this machine lacks, or what is wrong with a run and what to do first."""
    from atlas.cli import doctor as command

    command.run(run)


@app.command("base-model")
def base_model(overrides: Overrides = None, fresh: Fresh = False) -> None:
    """Train the small base model from random weights and compare it with the shipped one."""
    from atlas.cli import base_model as command

    command.run(overrides or [], fresh=fresh)


def main() -> None:
    """Run the command line; a mistake of the user is one line and exit code 2."""
    _run(app)


def prepare_grpo_data() -> None:
    """Run ``prepare_grpo_data.py``."""
    _run(prepare_app)


def vllm_server() -> None:
    """Run ``trainers/vllm_server.py``: ``atlas serve`` by the guide's name."""
    _run(app, ["serve", *sys.argv[1:]])


def train_py() -> None:
    """Run ``train.py``: ``atlas train`` by the guide's name."""
    _run(app, ["train", *sys.argv[1:]])


def train_atlas() -> None:
    """Run ``train_atlas.py``."""
    _run(train_app)


def arc_atlas() -> None:
    """Run ``arc-atlas``: the exporter, ``arc-atlas export`` and ``arc-atlas review`` likewise."""
    words = sys.argv[1:]
    if words[:1] == ["review"]:
        _run(app, [word for word in words if word != "--quiet"])
    else:
        _run(arc, words[1:] if words[:1] == ["export"] else words)


def _run(command: typer.Typer, words: list[str] | None = None) -> None:
    # reasoning-gym brings packages whose own code warns when it is compiled, at the first import.
    warnings.simplefilter("ignore", SyntaxWarning)
    try:
        command(words)
    except AtlasError as error:
        # Under torchrun all processes meet the same mistake; what only one meets is a RankError.
        if isinstance(error, RankError) or os.environ.get("RANK", "0") == "0":
            sys.stderr.write(f"atlas: {error}\n")
        sys.exit(2)
