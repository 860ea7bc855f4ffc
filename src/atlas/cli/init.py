"""``atlas init``: the configuration files that ship with the package, in a folder to be changed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from atlas.cli.options import command_app
from atlas.cli.terminal import say
from atlas.errors import AtlasError

app = command_app()


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="The folder that configs/ is written into")] = Path(
        "."
    ),
) -> None:
    """Write the configuration files into configs/, where they can be changed."""
    from atlas.config.grammar.places import SHIPPED
    from atlas.run.files import disk_errors, place_errors

    place = folder / "configs"
    if place.exists() or place.is_symlink():
        raise AtlasError(f"{place} is there already; move it away, or name another folder")
    with disk_errors(place), place_errors(place):
        shutil.copytree(SHIPPED, place)
    say(f"{place}: a command that is run in {folder} reads its files from there now")
    say("atlas keys sft  (or grpo, collect, evaluate, …) says what can be set")
