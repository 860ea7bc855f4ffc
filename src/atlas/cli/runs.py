"""``atlas runs``: the runs below a folder, how far each is, and how it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atlas.cli.options import Json, command_app
from atlas.cli.terminal import say, show_json
from atlas.errors import AtlasError

app = command_app()


@app.command()
def runs(
    folder: Annotated[Path, typer.Argument(help="Where to look")] = Path("."),
    as_json: Json = False,
) -> None:
    """List the runs below a folder: what they are, how far they are, how they go on."""
    import dataclasses

    from atlas.run.listing import runs_below

    if not folder.is_dir():
        raise AtlasError(f"{folder} is no folder; name one that runs are in")
    found = runs_below(folder)
    if as_json:
        show_json([dataclasses.asdict(run) for run in found])
        return
    for run in found:
        say(f"  {run.kind}, {run.state}", lead=str(run.path), bold=True)
        if run.last_line:
            say(f"    {run.last_line}")
        if run.goes_on:
            say(f"    goes on with: {run.goes_on}")
    if not found:
        say(f"There is no run below {folder}.")
