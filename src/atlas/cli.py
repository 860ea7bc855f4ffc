"""The ``atlas`` command: parse, load the configuration, call the stage, show how it goes.

Everything heavy is imported inside the commands, so that ``atlas --help`` answers at once.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from atlas.errors import AtlasError, RankError
from atlas.from_scratch_cli import prepare_app, register, train_app
from atlas.serve_cli import register as register_servers

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Overrides = Annotated[list[str] | None, typer.Argument(help="key=value settings, as in seed=1")]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Delete what an earlier run left and start over")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print settings, steps and memory; train nothing")
]
review = typer.Typer(
    no_args_is_help=True, help="List recorded sessions, and say which of them may be used."
)
app.add_typer(review, name="review")
register(app)
register_servers(app)
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


Source = Annotated[
    str, typer.Argument(metavar="CONFIG", help="A YAML file, or the name of one in configs/run")
]


@app.callback()
def atlas() -> None:
    """Train language models that teach."""


@app.command()
def quickstart(overrides: Overrides = None, fresh: Fresh = False) -> None:
    """Collect traces, warm a teacher up, reinforce it, measure it: guide B at small size."""
    from atlas.commands import quickstart as command

    command.run(overrides or [], fresh=fresh)


@app.command()
def collect(overrides: Overrides = None, fresh: Fresh = False) -> None:
    """Let a teacher and a student work through tasks, and record the sessions."""
    from atlas.commands import collect as command

    command.run(overrides or [], fresh=fresh)


@app.command()
def sft(
    config: Source, overrides: Overrides = None, fresh: Fresh = False, dry_run: DryRun = False
) -> None:
    """Warm a teacher up on recorded sessions, or on a data set of the hub."""
    from atlas.commands import sft as command

    command.run(config, overrides or [], fresh=fresh, dry_run=dry_run)


@app.command()
def grpo(
    config: Source, overrides: Overrides = None, fresh: Fresh = False, dry_run: DryRun = False
) -> None:
    """Reinforce a teacher for what its teaching does to a frozen student."""
    from atlas.commands import grpo as command

    command.run(config, overrides or [], fresh=fresh, dry_run=dry_run)


@app.command()
def evaluate(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEACHER... [KEY=VALUE]...", help="Model folders, then settings"),
    ] = None,
    fresh: Fresh = False,
) -> None:
    """Measure teachers on held-out tasks: the student alone, and with each of them."""
    from atlas.commands import evaluate as command

    command.run(command.with_teachers(words or []), fresh=fresh)


@app.command()
def train(
    config: Source, overrides: Overrides = None, fresh: Fresh = False, dry_run: DryRun = False
) -> None:
    """Run the job that a file is for; under torchrun, as one of its processes."""
    from atlas.commands import train as command

    command.run(config, overrides or [], fresh=fresh, dry_run=dry_run)


@app.command()
def launch(
    processes: Annotated[str, typer.Argument(metavar="N", help="Processes, one a GPU")],
    config: Source,
    overrides: Overrides = None,
    fresh: Fresh = False,
    dry_run: DryRun = False,
) -> None:
    """Run the job that a file is for in N processes of this machine, on its GPUs or its CPU."""
    from atlas.commands import launch as command

    command.run(processes, config, overrides or [], fresh=fresh, dry_run=dry_run)


@app.command()
def teach(
    question: Annotated[str, typer.Argument(help="What the student is asked")],
    teacher: Annotated[
        str, typer.Option(help="Model folder or hub id of the teacher")
    ] = "results/rl_checkpoint",
    student: Annotated[str, typer.Option(help="Model folder or hub id of the student")] = "base",
) -> None:
    """Print the student's answer alone, a teaching, and the answer with it."""
    from atlas.commands import teach as command

    command.run(question, teacher=teacher, student=student)


@app.command()
def report(
    run: Annotated[str, typer.Argument(help="A run directory")] = "runs/quickstart",
) -> None:
    """Write the page that shows a run, from its files alone."""
    from atlas.commands import report as command

    command.run(run)


@app.command()
def doctor(
    run: Annotated[
        str | None, typer.Argument(help="A run directory; without it, this machine is looked at")
    ] = None,
) -> None:
    """Say what this machine lacks, or what is wrong with a run and what to do first."""
    from atlas.commands import doctor as command

    command.run(run)


@app.command("base-model")
def base_model(overrides: Overrides = None, fresh: Fresh = False) -> None:
    """Train the small base model from random weights and compare it with the shipped one."""
    from atlas.commands import base_model as command

    command.run(overrides or [], fresh=fresh)


@app.command()
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
    from atlas.commands import export as command
    from atlas.commands.selection import Selection

    if (model is None) != (model_format is None):
        raise AtlasError("a model needs --format and --format needs a model folder; give both")
    if model is not None and model_format is not None:
        from atlas.commands import export_model

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


@app.command()
def lineage(
    run: Annotated[str, typer.Argument(help="A run directory, or a model folder of one")],
    ids: Annotated[bool, typer.Option("--ids", help="Print every id, not the first few")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Say which are missing or quarantined now")
    ] = False,
    database_url: Database = None,
) -> None:
    """Say which sessions a model was trained on."""
    from atlas.commands import lineage as command

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
    from atlas.commands import review as command
    from atlas.commands.selection import Selection

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
    from atlas.commands import review as command
    from atlas.commands.selection import Selection

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
        from atlas.commands import review as command
        from atlas.commands.selection import Selection

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
    from atlas.commands import export as command
    from atlas.commands.selection import Selection

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


def main() -> None:
    """Run the command line; a mistake of the user is one line and exit code 2."""
    _run(app)


def prepare_grpo_data() -> None:
    """Run ``prepare_grpo_data.py``."""
    _run(prepare_app)


def vllm_server() -> None:
    """Run ``trainers/vllm_server.py``: ``atlas serve`` by the guide's name."""
    _run(app, ["serve", *sys.argv[1:]])


def train_py() -> None:
    """Run ``train.py``: ``atlas train`` by the guide's name."""
    _run(app, ["train", *sys.argv[1:]])


def train_atlas() -> None:
    """Run ``train_atlas.py``."""
    _run(train_app)


def arc_atlas() -> None:
    """Run ``arc-atlas``: the exporter, ``arc-atlas export`` and ``arc-atlas review`` likewise."""
    words = sys.argv[1:]
    if words[:1] == ["review"]:
        _run(app, [word for word in words if word != "--quiet"])
    else:
        _run(arc, words[1:] if words[:1] == ["export"] else words)


def _run(command: typer.Typer, words: list[str] | None = None) -> None:
    # reasoning-gym brings packages whose own code warns when it is compiled, at the first import.
    warnings.simplefilter("ignore", SyntaxWarning)
    try:
        command(words)
    except AtlasError as error:
        # Under torchrun all processes meet the same mistake; what only one meets is a RankError.
        if isinstance(error, RankError) or os.environ.get("RANK", "0") == "0":
            sys.stderr.write(f"atlas: {error}\n")
        sys.exit(2)
