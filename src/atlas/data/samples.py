"""What every source gives: dialogues for SFT and prompts for RL, both split by task.

No task, and so no session, is on both sides (data/split.py). Only what samples are made of is
kept of a session: its messages, or its task with the reference answer; never its events.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, TypeVar

from atlas.data.sft import Dialogue, Request
from atlas.data.split import Side, side_of
from atlas.prompts import Message
from atlas.types import Task

T = TypeVar("T")
Use = Literal["sft", "rl", "both"]
"""What the data is wanted for; what isn't wanted isn't read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """A task that the teacher is reinforced on, and the sessions that it was met in."""

    task: Task
    sessions: tuple[str, ...]
    """All of them, failed ones too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Samples(Generic[T]):
    """The samples of one use, by side.

    Example:
        >>> Samples().train
        ()
    """

    train: tuple[T, ...] = ()
    eval: tuple[T, ...] = ()
    num_read: int = 0
    """Sessions or rows that passed the filters."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Reason -> how many gave no sample because of it; never silently."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TraceDataset:
    """What a source gave."""

    source: str
    """The file, or the database without its password."""
    filters: Mapping[str, Any]
    """What it was chosen by, for lineage."""
    sft: Samples[Dialogue] = field(default_factory=Samples)
    rl: Samples[Prompt] = field(default_factory=Samples)


def restricted(dataset: TraceDataset, sessions: Collection[str]) -> TraceDataset:
    """Return a dataset without the samples of all other sessions."""
    kept = frozenset(sessions)
    sft, rl = dataset.sft, dataset.rl
    return replace(
        dataset,
        sft=replace(
            sft,
            train=tuple(dialogue for dialogue in sft.train if dialogue.session in kept),
            eval=tuple(dialogue for dialogue in sft.eval if dialogue.session in kept),
        ),
        rl=replace(
            rl,
            train=tuple(prompt for prompt in rl.train if not kept.isdisjoint(prompt.sessions)),
            eval=tuple(prompt for prompt in rl.eval if not kept.isdisjoint(prompt.sessions)),
        ),
    )


def dialogue_samples(
    rows: Iterable[tuple[str, tuple[str, tuple[Message | Request, ...]] | None]],
    eval_share: float,
    *,
    reason: str,
) -> Samples[Dialogue]:
    """Return the dialogues of rows, each on the side of its task.

    Args:
        rows: What names a row, and its task with its messages, or None.
        eval_share: Share of the tasks that is held out.
        reason: What a row without a dialogue counts as.
    """
    sides: dict[Side, list[Dialogue]] = {"train": [], "eval": []}
    num_read = missing = 0
    for key, found in rows:
        num_read += 1
        if found is None:
            missing += 1
            continue
        task, messages = found
        sides[side_of(task, eval_share)].append(Dialogue(session=key, messages=messages))
    return _samples(sides, num_read, {reason: missing} if missing else {})


def prompt_samples(
    rows: Iterable[tuple[str, Task | None]], eval_share: float, *, reason: str
) -> Samples[Prompt]:
    """Return the tasks of rows, each once and with all rows that it is in, in the order of ids.

    Args:
        rows: What names a row, and its task or None.
        eval_share: Share of the tasks that is held out.
        reason: What a row without a task counts as.
    """
    tasks: dict[str, Task] = {}
    met: dict[str, list[str]] = {}
    num_read = missing = 0
    for key, task in rows:
        num_read += 1
        if task is None:
            missing += 1
            continue
        tasks.setdefault(task.id, task)
        met.setdefault(task.id, []).append(key)
    sides: dict[Side, list[Prompt]] = {"train": [], "eval": []}
    for identity in sorted(tasks):
        prompt = Prompt(task=tasks[identity], sessions=tuple(met[identity]))
        sides[side_of(prompt.task.question, eval_share)].append(prompt)
    return _samples(sides, num_read, {reason: missing} if missing else {})


def _samples(
    sides: Mapping[Side, list[T]], num_read: int, left_out: Mapping[str, int]
) -> Samples[T]:
    return Samples(
        train=tuple(sides["train"]),
        eval=tuple(sides["eval"]),
        num_read=num_read,
        left_out=left_out,
    )
