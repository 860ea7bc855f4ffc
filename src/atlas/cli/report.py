"""``atlas report``: run directories to one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atlas.cli.options import command_app
from atlas.cli.terminal import say
from atlas.run.run_dir import RunDir

app = command_app()


@app.command()
def report(
    runs: Annotated[
        list[str], typer.Argument(metavar="[RUN]...", help="Run directories; several are compared")
    ] = ["runs/quickstart"],  # noqa: B006 - typer shows it
    output: Annotated[
        Path | None,
        typer.Option(help="Where to write; by itself report.html in the run, or comparison.html"),
    ] = None,
) -> None:
    """Write the page that shows a run, from its files alone; of several, side by side."""
    folders = [RunDir.open(run).path for run in runs]

    from atlas.report import write_report

    say(f"report: {write_report(*folders, output=output)}")
