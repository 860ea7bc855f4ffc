"""``prepare_grpo_data.py``: prompts with ranked responses, for training and for validation."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from atlas.commands.terminal import console
from atlas.datasets.ranked import (
    RankedRecord,
    check_no_shared_prompt,
    read_ranked,
    write_ranked,
)
from atlas.datasets.split import task_key
from atlas.datasets.tasks import Split
from atlas.errors import AtlasError
from atlas.session import Session
from atlas.sources.ranked_hub import ranked_from_hub
from atlas.sources.ranked_tasks import ranked_from_tasks
from atlas.sources.ranked_traces import ranked_from_sessions
from atlas.traces.jsonl import JsonlTraceStore
from atlas.traces.open_database import database
from atlas.traces.postgres import PostgresTraceStore
from atlas.traces.store import SessionQuery
from atlas.types import task_id

FAMILIES = ("chain_sum", "basic_arithmetic", "leg_counting")
TRAINING = "grpo_training.json"
VALIDATION = "validation.json"
_WITHOUT_EVENTS = SessionQuery(include_trajectory_events=False, include_learning_data=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What the command line asks for."""

    output_dir: Path
    path: str | None
    tasks: Sequence[str] | None
    """Families of reasoning-gym; None: the default ones."""
    split: str | None
    """Part of a hub's data set; None: ``train``."""
    size: int
    validation_size: int
    responses_per_prompt: int
    seed: int


Sets = tuple[list[RankedRecord], list[RankedRecord]]


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
            raise AtlasError(f"nothing is left for {name}; give more prompts")
    check_no_shared_prompt(train, validation)
    for name, records in ((TRAINING, train), (VALIDATION, validation)):
        path = request.output_dir / name
        write_ranked(path, records)
        responses = Counter(len(record.responses) for record in records)
        counts = ", ".join(f"{n} with {k} responses" for k, n in sorted(responses.items()))
        console.print(f"{path}: {len(records)} prompts ({counts})", markup=False, soft_wrap=True)
    console.print(f"{time.monotonic() - started:.1f} s")


def from_tasks(request: Request) -> Sets:
    """reasoning-gym's tasks, with responses written and verified here."""

    def made(size: int, split: Split) -> list[RankedRecord]:
        return ranked_from_tasks(
            request.tasks or FAMILIES,
            size,
            responses_per_prompt=request.responses_per_prompt,
            seed=request.seed,
            split=split,
        )

    return made(request.size, "train"), made(request.validation_size, "held_out")


def from_traces(request: Request) -> Sets:
    """Sessions of the same task, ranked by reward; from PostgreSQL or JSONL."""
    if request.path is not None and request.path.endswith((".jsonl", ".jsonl.gz")):
        return _from_sessions(JsonlTraceStore(request.path).sessions(_WITHOUT_EVENTS), request)
    with database(request.path) as db_url:
        return _from_sessions(PostgresTraceStore(db_url).sessions(_WITHOUT_EVENTS), request)


def from_jsonl(request: Request) -> Sets:
    """Ranked records of one's own, in a JSON or JSONL file."""
    records = read_ranked(_named(request, "a JSON or JSONL file of records"))
    return _split([record.at_most(request.responses_per_prompt) for record in records], request)


def from_hub(request: Request) -> Sets:
    """A preference set of the Hugging Face hub, or local files of its shape."""
    name = _named(request, "the name of a data set")
    wanted = request.size + request.validation_size
    records = ranked_from_hub(
        name, split=request.split, responses_per_prompt=request.responses_per_prompt
    )
    return _split(list(islice(records, wanted)), request)


SOURCES: Mapping[str, Callable[[Request], Sets]] = {
    "tasks": from_tasks,
    "traces": from_traces,
    "jsonl": from_jsonl,
    "hub": from_hub,
}


def _from_sessions(sessions: Iterable[Session], request: Request) -> Sets:
    records, left_out = ranked_from_sessions(
        sessions, responses_per_prompt=request.responses_per_prompt
    )
    if left_out:
        console.print(f"{left_out} tasks have one answer or equal rewards, and were left out")
    return _split(records, request)


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


def _named(request: Request, what: str) -> str:
    if request.path is None:
        raise AtlasError(f"--path is missing; give {what}")
    return request.path


def _split(records: Sequence[RankedRecord], request: Request) -> Sets:
    """Split by the hash of the prompt's key: a prompt in other words stays on its side."""
    by_prompt = {record.prompt: record for record in records}
    if len(by_prompt) < 2:
        raise AtlasError(f"{len(by_prompt)} prompts can be ranked; two at least are needed")
    key_of = {prompt: task_id(task_key(prompt)) for prompt in by_prompt}
    ordered = sorted(by_prompt.values(), key=lambda record: (key_of[record.prompt], record.prompt))
    held = max(1, min(request.validation_size, len(ordered) // 10))
    last = key_of[ordered[held - 1].prompt]
    while held < len(ordered) and key_of[ordered[held].prompt] == last:
        held += 1
    validation, train = ordered[:held], ordered[held : held + request.size]
    random.Random(request.seed).shuffle(train)
    return train, validation
