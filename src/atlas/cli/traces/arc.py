"""``arc-atlas``, as the guide calls the exporter of the Atlas SDK: the same flags, our file."""

from __future__ import annotations

from typing import Annotated

import typer

from atlas.cli.faults import complain
from atlas.cli.options import command_app
from atlas.cli.traces.export import Output, write_sessions
from atlas.cli.traces.selection import (
    Database,
    Include,
    Limit,
    Offset,
    SelectionOptions,
    SessionIds,
    Status,
)

app = command_app()


@app.command()
def arc_export(
    output: Output,
    database_url: Database = None,
    session_id: SessionIds = None,
    limit: Limit = None,
    offset: Offset = 0,
    status: Status = None,
    include_status: Include = None,
    include_all_statuses: Annotated[
        bool, typer.Option("--include-all-statuses", help="Every review status")
    ] = False,
    batch_size: Annotated[int, typer.Option(help="Sessions in memory at a time", min=1)] = 500,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only errors")] = False,
    trajectory_event_limit: Annotated[int | None, typer.Option(hidden=True)] = None,
    config: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Write the sessions of a database to a JSONL file, with the flags of the Atlas SDK."""
    ignored = {"--trajectory-event-limit": trajectory_event_limit, "--config": config}
    if given := [name for name, value in ignored.items() if value is not None]:
        # What the file lacks must be known.
        complain(
            f"{', '.join(given)} has no meaning here: every event is written, and review "
            "statuses are chosen by --include-status alone"
        )
    write_sessions(
        database_url,
        output,
        SelectionOptions(
            status=status, include_status=None if include_all_statuses else include_status
        ),
        session_ids=session_id or [],
        limit=limit,
        offset=offset,
        page_size=batch_size,
        quiet=quiet,
    )
