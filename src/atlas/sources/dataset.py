"""What every source gives: dialogues for SFT and prompts for RL, both split by task.

No task, and so no session, is on both sides (datasets/split.py). Only what samples are made of is
kept of a session: its messages, or its task with the reference answer; never its events.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, TypeVar

from atlas.datasets.sft import Dialogue
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
