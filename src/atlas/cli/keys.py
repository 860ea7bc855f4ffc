"""``atlas keys``: what can be set in a job's configuration, with defaults."""

from __future__ import annotations

from typing import Annotated

import typer

from atlas.cli.options import Json, command_app
from atlas.cli.terminal import say, show_json, width
from atlas.errors import AtlasError

app = command_app()


@app.command()
def keys(
    job: Annotated[
        str | None, typer.Argument(help="sft, grpo, quickstart, collect, evaluate, ranked, …")
    ] = None,
    word: Annotated[str, typer.Argument(help="Only keys with this in their name or text")] = "",
    as_json: Json = False,
) -> None:
    """List the keys of a job with their defaults and what they do."""
    import textwrap

    from atlas.config import JOBS
    from atlas.config.grammar.schema import keys_of, nearest

    if job is None:
        raise AtlasError(f"name a job, as in: atlas keys grpo; there are {', '.join(JOBS)}")
    if job not in JOBS:
        raise AtlasError(f"there is no job '{job}'{nearest(job, JOBS)}")
    found = [
        info
        for info in keys_of(JOBS[job]).values()
        if word.lower() in f"{info.name} {info.doc}".lower()
    ]
    if as_json:
        show_json(
            [
                {
                    "key": info.name,
                    "required": info.is_required,
                    "default": None if info.is_required else info.default,
                    "value": info.expected,
                    "doc": info.doc,
                }
                for info in found
            ]
        )
        return
    for info in found:
        say(f"  {info.default_text}", lead=info.name, bold=True)
        said = f"{info.doc} ({info.expected})"
        say(textwrap.indent(textwrap.fill(said, max(40, width() - 6)), "      "))
