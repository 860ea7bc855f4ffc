"""``atlas report``: a run directory to one page."""

from __future__ import annotations

from typing import Annotated

import typer

from atlas.cli.options import command_app
from atlas.cli.terminal import say
from atlas.run.run_dir import RunDir

app = command_app()


@app.command()
def report(
    run: Annotated[str, typer.Argument(help="A run directory")] = "runs/quickstart",
) -> None:
    """Write the page that shows a run, from its files alone."""
    folder = RunDir.open(run).path

    from atlas.report import write_report

    say(f"report: {write_report(folder)}")
