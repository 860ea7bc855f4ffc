"""``atlas why``: one sample of a training by GRPO, whole."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from atlas.cli.options import Json, command_app
from atlas.cli.terminal import say, show_json

app = command_app()


@app.command()
def why(
    run: Annotated[Path, typer.Argument(help="A run directory of grpo or quickstart")],
    step: Annotated[int, typer.Argument(help="Optimiser step, from 1")],
    sample: Annotated[int, typer.Argument(help="Place among the step's samples, from 0")],
    tokens: Annotated[
        bool, typer.Option("--tokens", help="Every token on a line of its own")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show one sample whole: what was said, what it earned, what the update made of it."""
    from atlas.report.sample import read_sample, sample_lines

    found = read_sample(run, step, sample)
    if as_json:
        show_json(dataclasses.asdict(found))
        return
    for line in sample_lines(found, wide=tokens):
        say(line)
