"""The ``atlas`` command: parse, load the configuration, call the stage, show how it goes.

Everything heavy is imported inside the commands, so that ``atlas --help`` answers at once.
"""

from __future__ import annotations

import sys
import warnings
from typing import Annotated

import typer

from atlas.errors import AtlasError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Overrides = Annotated[
    list[str] | None, typer.Argument(help="key=value settings, as in docs/quickstart.md")
]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Delete what an earlier run left and start over")
]


Source = Annotated[
    str, typer.Argument(metavar="CONFIG", help="A YAML file, or the name of one in configs/run")
]


@app.callback()
def atlas() -> None:
    """Train language models that teach."""


@app.command()
def quickstart(overrides: Overrides = None, fresh: Fresh = False) -> None:
    """Collect traces, warm a teacher up, reinforce it, measure it: guide B at small size."""
    from atlas.commands import quickstart as command

    command.run(overrides or [], fresh=fresh)


@app.command()
def sft(config: Source, overrides: Overrides = None, fresh: Fresh = False) -> None:
    """Warm a teacher up on recorded sessions, or on a data set of the hub."""
    from atlas.commands import sft as command

    command.run(config, overrides or [], fresh=fresh)


@app.command()
def grpo(config: Source, overrides: Overrides = None, fresh: Fresh = False) -> None:
    """Reinforce a teacher for what its teaching does to a frozen student."""
    from atlas.commands import grpo as command

    command.run(config, overrides or [], fresh=fresh)


@app.command()
def teach(
    question: Annotated[str, typer.Argument(help="What the student is asked")],
    teacher: Annotated[
        str, typer.Option(help="Model folder or hub id of the teacher")
    ] = "results/rl_checkpoint",
    student: Annotated[str, typer.Option(help="Model folder or hub id of the student")] = "base",
) -> None:
    """Print the student's answer alone, a teaching, and the answer with it."""
    from atlas.commands import teach as command

    command.run(question, teacher=teacher, student=student)


@app.command()
def report(
    run: Annotated[str, typer.Argument(help="A run directory")] = "runs/quickstart",
) -> None:
    """Write the page that shows a run, from its files alone."""
    from atlas.commands import report as command

    command.run(run)


@app.command("base-model")
def base_model(overrides: Overrides = None, fresh: Fresh = False) -> None:
    """Train the small base model from random weights and compare it with the shipped one."""
    from atlas.commands import base_model as command

    command.run(overrides or [], fresh=fresh)


def main() -> None:
    """Run the command line; a mistake of the user is one line and exit code 2."""
    # reasoning-gym brings packages whose own code warns when it is compiled, at the first import.
    warnings.simplefilter("ignore", SyntaxWarning)
    try:
        app()
    except AtlasError as error:
        sys.stderr.write(f"atlas: {error}\n")
        sys.exit(2)
