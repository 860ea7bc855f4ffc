"""``prepare_grpo_data.py``: prompts with ranked responses, for training and for validation."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atlas.cli.options import command_app
from atlas.cli.terminal import say
from atlas.errors import AtlasError

if TYPE_CHECKING:
    from atlas.data.ranked import RankedRecord
    from atlas.from_scratch.data.prepare import PrepareOptions

TRAINING = "grpo_training.json"
VALIDATION = "validation.json"


app = command_app()


@app.command()
def prepare_data(
    source: Annotated[
        str, typer.Option(help="tasks, traces, jsonl or hub: where prompts and responses are from")
    ] = "tasks",
    path: Annotated[
        str | None,
        typer.Option(
            help="traces: a JSONL file, a database URL or a run directory; jsonl: a JSON or JSONL "
            "file of records; hub: a data set's name, or a parquet or JSON file"
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="hub: which split of the set, train where none is named")
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(
            help="tasks: families of reasoning-gym, with commas between; without it chain_sum, "
            "basic_arithmetic and leg_counting"
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            help="Prompts of the training data, at most; without it tasks write 6000, every other "
            "source takes all that it has",
            min=1,
        ),
    ] = None,
    validation_size: Annotated[
        int | None,
        typer.Option(
            help="Prompts of the validation data; without it tasks write 500, every other source "
            "holds out a tenth of its prompts, 500 at most",
            min=1,
        ),
    ] = None,
    responses_per_prompt: Annotated[
        int,
        typer.Option(
            help="From 2 to 16; of more than that the best, the worst and some between are taken"
        ),
    ] = 5,
    seed: Annotated[int, typer.Option(help="Equal seeds write equal files")] = 0,
    output_dir: Annotated[Path, typer.Option(help="Where both files are written")] = Path("data"),
) -> None:
    """Write data/grpo_training.json and data/validation.json: prompts with ranked responses."""
    from atlas.from_scratch.data.prepare import SOURCES, PrepareOptions

    request = PrepareOptions(
        output_dir=output_dir,
        path=path,
        split=split,
        tasks=tasks and [family.strip() for family in tasks.split(",") if family.strip()],
        size=size,
        validation_size=validation_size,
        responses_per_prompt=responses_per_prompt,
        seed=seed,
        say=say,
    )
    if source not in SOURCES:
        raise AtlasError(f"--source is {source}; it must be one of {', '.join(SOURCES)}")
    if not 2 <= request.responses_per_prompt <= 16:
        raise AtlasError(
            f"--responses-per-prompt is {request.responses_per_prompt}; it must be from 2 to 16"
        )
    _refuse_unread(source, request)
    started = time.monotonic()
    _write(request, *SOURCES[source](request))
    say(f"{time.monotonic() - started:.1f} s")


def _write(
    request: PrepareOptions, train: list[RankedRecord], validation: list[RankedRecord]
) -> None:
    """Write both files, and say what is in them."""
    from atlas.data.ranked import check_no_shared_prompt, num_unranked, write_ranked

    for name, records in ((TRAINING, train), (VALIDATION, validation)):
        if not records:
            raise AtlasError(
                f"nothing is left for {name}; give more prompts, or a smaller --validation-size"
            )
    check_no_shared_prompt(train, validation)
    for name, records in ((TRAINING, train), (VALIDATION, validation)):
        path = request.output_dir / name
        write_ranked(path, records)
        responses = Counter(len(record.responses) for record in records)
        counts = ", ".join(f"{n} with {k} responses" for k, n in sorted(responses.items()))
        say(f"{path}: {len(records)} prompts ({counts})")
        if unranked := num_unranked(records):
            say(
                f"{path}: {unranked} prompts have one response or only ties: nothing is ranked "
                "there"
            )


def _refuse_unread(source: str, request: PrepareOptions) -> None:
    """Raise AtlasError where an option is given that the source doesn't read."""
    for option, value, readers in (
        ("--tasks", request.tasks, ("tasks",)),
        ("--split", request.split, ("hub",)),
        ("--path", request.path, ("traces", "jsonl", "hub")),
    ):
        if value is not None and source not in readers:
            raise AtlasError(
                f"{option} is for --source {' or '.join(readers)}, and the source is {source}; "
                "leave it out, or name the source"
            )
