"""``prepare_grpo_data.py``: prompts with ranked responses, for training and for validation."""

from __future__ import annotations

import time
from collections import Counter

from atlas.cli.terminal import console
from atlas.data.ranked import check_no_shared_prompt, num_unranked, write_ranked
from atlas.errors import AtlasError
from atlas.from_scratch.data.prepare import SOURCES, Request

TRAINING = "grpo_training.json"
VALIDATION = "validation.json"


def run(source: str, request: Request) -> None:
    """Run the command."""
    if source not in SOURCES:
        raise AtlasError(f"--source is {source}; it must be one of {', '.join(SOURCES)}")
    if not 2 <= request.responses_per_prompt <= 16:
        raise AtlasError(
            f"--responses-per-prompt is {request.responses_per_prompt}; it must be from 2 to 16"
        )
    _refuse_unread(source, request)
    started = time.monotonic()
    train, validation = SOURCES[source](request)
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
    console.print(f"{time.monotonic() - started:.1f} s")


def _refuse_unread(source: str, request: Request) -> None:
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


def say(line: str) -> None:
    """Print a line as it is, without colours or cuts."""
    console.print(line, markup=False, soft_wrap=True)
