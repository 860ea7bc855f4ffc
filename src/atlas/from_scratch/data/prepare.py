"""Prompts with ranked responses, of four sources, for training and for validation.

Records of one's own keep their scores, since the loss reads the differences between them. Ratings
of a hub's set and rewards of sessions become ranks, which the loss is made for: where a judge gives
0.8 and 0.9, ``softmax(score)`` prefers hardly anything.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from atlas.data.ranked import (
    RankedRecord,
    one_a_prompt,
    read_ranked,
)
from atlas.data.split import task_key
from atlas.data.tasks import Split
from atlas.errors import AtlasError
from atlas.from_scratch.data.hub import ranked_from_hub
from atlas.from_scratch.data.traces import ranked_from_sessions
from atlas.session import Session
from atlas.traces.jsonl import JsonlTraceStore
from atlas.traces.open_database import database
from atlas.traces.postgres.reading import PostgresTraceStore
from atlas.traces.store import SessionQuery
from atlas.types import task_id

FAMILIES = ("chain_sum", "basic_arithmetic", "leg_counting")
_TASKS_SIZE, _TASKS_VALIDATION_SIZE = 6000, 500
_MOST_HELD_OUT = 500
"""Prompts of the validation data where nobody says how many, and a tenth would be more."""
_WITHOUT_EVENTS = SessionQuery(include_trajectory_events=False, include_learning_data=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class PrepareOptions:
    """What the command line asks for."""

    output_dir: Path
    path: str | None
    tasks: Sequence[str] | None
    """Families of reasoning-gym; None: the default ones."""
    split: str | None
    """Part of a hub's data set; None: ``train``."""
    size: int | None
    """Training prompts; None: all that there are, of tasks 6,000."""
    validation_size: int | None
    """None: a tenth, 500 at most; of tasks 500."""
    responses_per_prompt: int
    seed: int
    say: Callable[[str], None]
    """Is told what is left out."""


Sets = tuple[list[RankedRecord], list[RankedRecord]]


def from_tasks(request: PrepareOptions) -> Sets:
    """reasoning-gym's tasks, with responses written and verified here."""
    from atlas.from_scratch.data.tasks import ranked_from_tasks  # noqa: PLC0415 - slow to import

    def made(size: int, split: Split) -> list[RankedRecord]:
        return ranked_from_tasks(
            request.tasks or FAMILIES,
            size,
            responses_per_prompt=request.responses_per_prompt,
            seed=request.seed,
            split=split,
        )

    return (
        made(request.size or _TASKS_SIZE, "train"),
        made(request.validation_size or _TASKS_VALIDATION_SIZE, "held_out"),
    )


def from_traces(request: PrepareOptions) -> Sets:
    """Sessions of the same task, ranked by reward; from PostgreSQL or JSONL."""
    path = request.path
    if path is not None and (path.endswith((".jsonl", ".jsonl.gz")) or Path(path).is_file()):
        return _from_sessions(JsonlTraceStore(path).sessions(_WITHOUT_EVENTS), request)
    with database(path, option="--path") as db_url:
        return _from_sessions(PostgresTraceStore(db_url).sessions(_WITHOUT_EVENTS), request)


def from_jsonl(request: PrepareOptions) -> Sets:
    """Ranked records of one's own, in a JSON or JSONL file; their scores or ranks stay."""
    what = "a JSON or JSONL file of records"
    records = read_ranked(_named(request, what), where_missing=f"give {what}")
    return _split(_one_a_prompt(records, request), request)


def from_hub(request: PrepareOptions) -> Sets:
    """A preference set of the Hugging Face hub, or local files of its shape."""
    name = _named(request, "the name of a data set")
    left_out: Counter[str] = Counter()
    rows = ranked_from_hub(
        name,
        split=request.split,
        responses_per_prompt=request.responses_per_prompt,
        left_out=left_out,
    )
    records, unread = _enough(rows, request)
    _say_left_out(left_out, request.say)
    if unread is not None:
        request.say(f"--size is {request.size}: from {unread.source} on, no row was read")
    ranked = [record.as_ranks() for record in _one_a_prompt(records, request)]
    return _split(ranked, request)


SOURCES: Mapping[str, Callable[[PrepareOptions], Sets]] = {
    "tasks": from_tasks,
    "traces": from_traces,
    "jsonl": from_jsonl,
    "hub": from_hub,
}


def _from_sessions(sessions: Iterable[Session], request: PrepareOptions) -> Sets:
    records, left_out = ranked_from_sessions(
        sessions, responses_per_prompt=request.responses_per_prompt
    )
    _say_left_out(left_out, request.say)
    if len(records) < 2:
        raise AtlasError(
            f"{len(records)} tasks were answered in two ways that earned differently, and two at "
            "least are needed; atlas collect samples_per_task=4 records several sessions a task"
        )
    return _split([record.as_ranks() for record in records], request)


def _enough(
    rows: Iterable[RankedRecord], request: PrepareOptions
) -> tuple[list[RankedRecord], RankedRecord | None]:
    """Return the rows that hold enough prompts, and the first that is too much, if there is one."""
    wanted = math.inf
    if request.size is not None:
        # A tenth of what is read is held out, so of the size it is a ninth.
        wanted = request.size + (request.validation_size or _held_out(request.size * 10 // 9))
    taken: list[RankedRecord] = []
    prompts: set[str] = set()
    for record in rows:
        if len(prompts) >= wanted and record.prompt not in prompts:
            return taken, record
        prompts.add(record.prompt)
        taken.append(record)
    return taken, None


def _held_out(num_prompts: int) -> int:
    return max(1, min(_MOST_HELD_OUT, num_prompts // 10))


def _one_a_prompt(records: Iterable[RankedRecord], request: PrepareOptions) -> list[RankedRecord]:
    """Return one record a prompt, with as many responses as asked for, and say what went."""
    single, fates = one_a_prompt(records)
    for fate, count in fates.items():
        request.say(f"{count} {fate}")
    most = request.responses_per_prompt
    cut = [record.at_most(most) for record in single]
    if num_cut := sum(len(record.responses) for record in single) - sum(
        len(record.responses) for record in cut
    ):
        request.say(f"{num_cut} responses are left out: --responses-per-prompt is {most}")
    return cut


def _say_left_out(reasons: Mapping[str, int], say: Callable[[str], None]) -> None:
    for reason, count in reasons.items():
        say(f"{count} {reason}: left out")


def _named(request: PrepareOptions, what: str) -> str:
    if request.path is None:
        raise AtlasError(f"--path is missing; give {what}")
    return request.path


def _split(records: Sequence[RankedRecord], request: PrepareOptions) -> Sets:
    """Split by the hash of the prompt's key: a prompt in other words stays on its side.

    Args:
        records: No two with the same prompt.
    """
    if len(records) < 2:
        raise AtlasError(f"{len(records)} prompts can be ranked; two at least are needed")
    key_of = {record.prompt: task_id(task_key(record.prompt)) for record in records}
    ordered = sorted(records, key=lambda record: (key_of[record.prompt], record.prompt))
    held = min(request.validation_size or _held_out(len(ordered)), len(ordered))
    last = key_of[ordered[held - 1].prompt]
    while held < len(ordered) and key_of[ordered[held].prompt] == last:
        held += 1
    validation, train = ordered[:held], ordered[held:]
    if request.size is not None and len(train) > request.size:
        request.say(f"{len(train) - request.size} prompts are left out: --size is {request.size}")
        train = train[: request.size]
    random.Random(request.seed).shuffle(train)
    return train, validation
