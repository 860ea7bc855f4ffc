"""``atlas watch``: the report of a run, live in the browser while the training goes on."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from atlas.cli.options import command_app
from atlas.cli.terminal import say

app = command_app()


@app.command()
def watch(
    run: Annotated[
        Path | None, typer.Argument(help="A run directory; without it, the newest below here")
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="On this machine; 0 takes a free one")
    ] = 8787,
) -> None:
    """Show a run in the browser while it goes on: curves, transcripts, the end of the log."""
    from atlas.report.live import Watcher, chosen_run
    from atlas.run.listing import listed
    from atlas.run.run_dir import RunDir

    found = chosen_run(Path.cwd()) if run is None else RunDir.open(run)
    with Watcher(found, port) as server:
        state = listed(found)
        say(f"{found.path}: {state.kind}, {state.state}")
        if state.goes_on:
            say(f"it goes on with: {state.goes_on}")
        say(f"watch it at {server.address} (Ctrl-C ends)")
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
