"""The command line of recorded sessions: export, review, lineage, and the SDK's ``arc-atlas``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from atlas.errors import AtlasError

review = typer.Typer(
    no_args_is_help=True, help="List recorded sessions, and say which of them may be used."
)
arc = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
"""The exporter of the Atlas SDK, which the guide names ``arc-atlas``."""

ReviewStatus = Literal["pending", "approved", "quarantined"]

Output = Annotated[Path, typer.Option(help="File to write; gzipped where it ends in .gz")]

Database = Annotated[
    str | None,
    typer.Option(
        help="URL, or a run directory with an embedded server's data; else the environment's "
        "STORAGE__DATABASE_URL or DATABASE_URL, else the guide's database",
        metavar="URL|FOLDER",
    ),
]
Status = Annotated[list[str] | None, typer.Option(help="Only this status; may be repeated")]
Review = Annotated[list[str] | None, typer.Option(help="Only this review status; may be repeated")]
Include = Annotated[
    list[str] | None,
    typer.Option(help="Only approved sessions and those of this review status; may be repeated"),
]
Key = Annotated[str | None, typer.Option(help="Only sessions recorded under this learning key")]
Since = Annotated[
    str | None, typer.Option(help="Only created then or later: 2026-01-31, or with a time")
]
Until = Annotated[
    str | None, typer.Option(help="Only created then or before; a day counts as a whole")
]
MinReward = Annotated[float | None, typer.Option(help="Only with at least this reward")]
MaxReward = Annotated[float | None, typer.Option(help="Only with at most this reward")]
Limit = Annotated[int | None, typer.Option(help="At most so many, newest first", min=1)]
Offset = Annotated[int, typer.Option(help="Skip so many first", min=0)]
SessionIds = Annotated[
    list[int] | None, typer.Option("--session-id", help="Only this session; may be repeated")
]
Ids = Annotated[list[int] | None, typer.Argument(help="Sessions, as atlas review list shows them")]
Notes = Annotated[str | None, typer.Option("--notes", "--note", help="The reviewer's reason")]
Yes = Annotated[bool, typer.Option("--yes", help="Change what the filters choose without asking")]


def export(
    output: Output,
    model: Annotated[
        Path | None, typer.Argument(help="A model folder, with --format; else sessions are written")
    ] = None,
    model_format: Annotated[
        str | None, typer.Option("--format", help="Of a model: safetensors, pkl or gguf")
    ] = None,
    database_url: Database = None,
    status: Status = None,
    review_status: Review = None,
    learning_key: Key = None,
    since: Since = None,
    until: Until = None,
    min_reward: MinReward = None,
    max_reward: MaxReward = None,
    include_status: Include = None,
    session_id: SessionIds = None,
    limit: Limit = None,
    offset: Offset = 0,
    no_events: Annotated[bool, typer.Option("--no-events", help="Leave the events out")] = False,
) -> None:
    """Write the sessions of a database to a JSONL file, all unless filters say less; or a model."""
    from atlas.cli import export as command
    from atlas.cli.selection import Selection

    if (model is None) != (model_format is None):
        raise AtlasError("a model needs --format and --format needs a model folder; give both")
    if model is not None and model_format is not None:
        from atlas.cli import export_model

        export_model.run(model, output, model_format)
        return
    selection = Selection(
        status=status,
        review_status=review_status,
        learning_key=learning_key,
        since=since,
        until=until,
        min_reward=min_reward,
        max_reward=max_reward,
        include_status=include_status,
    )
    command.run(
        database_url,
        output,
        selection,
        session_ids=session_id or [],
        limit=limit,
        offset=offset,
        events=not no_events,
    )


def lineage(
    run: Annotated[str, typer.Argument(help="A run directory, or a model folder of one")],
    ids: Annotated[bool, typer.Option("--ids", help="Print every id, not the first few")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Say which are missing or quarantined now")
    ] = False,
    database_url: Database = None,
) -> None:
    """Say which sessions a model was trained on."""
    from atlas.cli import lineage as command

    command.run(run, all_ids=ids, check=check, database_url=database_url)


@review.command("list")
def list_sessions(
    database_url: Database = None,
    status: Status = None,
    review_status: Review = None,
    learning_key: Key = None,
    since: Since = None,
    until: Until = None,
    min_reward: MinReward = None,
    max_reward: MaxReward = None,
    limit: Annotated[int, typer.Option(help="At most so many, newest first", min=1)] = 20,
    offset: Offset = 0,
) -> None:
    """Show sessions with their status, review status and score."""
    from atlas.cli import review as command
    from atlas.cli.selection import Selection

    selection = Selection(
        status=status,
        review_status=review_status,
        learning_key=learning_key,
        since=since,
        until=until,
        min_reward=min_reward,
        max_reward=max_reward,
    )
    command.show(database_url, selection, limit=limit, offset=offset)


@review.command("sessions", hidden=True)
def sdk_sessions(
    database_url: Database = None,
    status: Status = None,
    limit: Annotated[int, typer.Option(min=1)] = 20,
    offset: Offset = 0,
) -> None:
    """Do what the Atlas SDK calls ``review sessions``: its --status is a review status."""
    from atlas.cli import review as command
    from atlas.cli.selection import Selection

    command.show(database_url, Selection(review_status=status), limit=limit, offset=offset)


def _decision(review_status_now: ReviewStatus) -> Callable[..., None]:
    """Return the command that gives sessions this review status."""

    def decide(
        ids: Ids = None,
        database_url: Database = None,
        status: Status = None,
        review_status: Review = None,
        learning_key: Key = None,
        since: Since = None,
        until: Until = None,
        min_reward: MinReward = None,
        max_reward: MaxReward = None,
        notes: Notes = None,
        yes: Yes = False,
    ) -> None:
        from atlas.cli import review as command
        from atlas.cli.selection import Selection

        selection = Selection(
            status=status,
            review_status=review_status,
            learning_key=learning_key,
            since=since,
            until=until,
            min_reward=min_reward,
            max_reward=max_reward,
        )
        command.decide(database_url, ids or [], selection, review_status_now, notes=notes, yes=yes)

    return decide


review.command("approve", help="Mark sessions as good to learn from.")(_decision("approved"))
review.command("quarantine", help="Mark sessions as not to be used.")(_decision("quarantined"))
review.command("reset", help="Take the review of sessions back.")(_decision("pending"))


@arc.command()
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
    from atlas.cli import export as command
    from atlas.cli.selection import Selection

    if include_all_statuses:
        include_status = None
    without_meaning = {"--trajectory-event-limit": trajectory_event_limit, "--config": config}
    command.note_ignored([name for name, value in without_meaning.items() if value is not None])
    command.run(
        database_url,
        output,
        Selection(status=status, include_status=include_status),
        session_ids=session_id or [],
        limit=limit,
        offset=offset,
        page_size=batch_size,
        quiet=quiet,
    )


def register(app: typer.Typer) -> None:
    """Make these commands of ``atlas`` too."""
    app.command()(export)
    app.command()(lineage)
    app.add_typer(review, name="review")
