"""``atlas diff``: what is not the same in two runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from atlas.cli.options import Json, command_app
from atlas.cli.terminal import say, show_json

app = command_app()


@app.command()
def diff(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory")],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="Another one")],
    as_json: Json = False,
) -> None:
    """Say what two runs differ in: settings, data, environment, curves, claims."""
    from atlas.report.differences import differences, parted
    from atlas.report.run_files import read_run
    from atlas.run.run_dir import RunDir

    runs = [read_run(RunDir.open(path).path) for path in (first, second)]
    found, steps = differences(runs), parted(*runs)
    if as_json:
        shown = {"differences": [dataclasses.asdict(one) for one in found], "parted": steps}
        show_json(shown)
        return
    section = ""
    for one in found:
        if one.section != section:
            section = one.section
            say(lead=section, bold=True)
        say(f"  {one.name}")
        for run, cell in zip((first, second), one.cells, strict=True):
            say(f"    {run}: {cell or '-'}")
    for stage, step in steps.items():
        text = "are one, bit for bit" if step is None else f"part at step {step:g}"
        say(f"the {stage} trainings {text}")
    if not found:
        say("Nothing that was recorded differs.")
