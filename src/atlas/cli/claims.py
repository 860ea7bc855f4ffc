"""``atlas claims``: what an evaluation said, again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atlas.cli.options import Json, command_app
from atlas.cli.terminal import show_json
from atlas.errors import AtlasError

app = command_app()


@app.command()
def claims(
    run: Annotated[Path, typer.Argument(help="A run directory of evaluate or quickstart")],
    as_json: Json = False,
) -> None:
    """Print what a finished evaluation says."""
    from atlas.cli.train.claims import show_claims
    from atlas.json_file import read_json
    from atlas.run.run_dir import RunDir

    found = RunDir.open(run)
    if not found.claims.is_file():
        raise AtlasError(f"{run} has no claims; atlas evaluate and atlas quickstart measure some")
    if as_json:
        show_json(read_json(found.claims))
    else:
        show_claims(found)
