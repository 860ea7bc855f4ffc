"""Report: ten transcripts side by side, chosen by rule and not by taste.

Input: the pairs of all arms. Output: at most ten ``Transcript``, one task each, with the student
alone and with every arm's teaching. Every task falls into one kind by what the main arm's
teaching did; each kind has a quota, families take turns within a kind, and within a family the
order is that of the task's id, a hash, so that nobody picked them. Free places go to the kinds
that have tasks left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

from atlas.types import Attempt, Lesson, Task

Kind = Literal["helped", "harmed", "leaked", "right anyway", "still wrong"]

QUOTAS: Mapping[Kind, int] = {
    "helped": 4,
    "right anyway": 2,
    "still wrong": 2,
    "harmed": 1,
    "leaked": 1,
}
"""Ten in all, in the order of the page."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Transcript:
    """One task with what everybody said about it."""

    task: Task
    kind: Kind
    """By the main arm."""
    alone: Attempt
    approach: str
    """How the student said it would go about it, when probed."""
    taught: tuple[Lesson, ...]
    """One per arm, in the order asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownTranscripts:
    """The transcripts shown, and what they were drawn from."""

    transcripts: tuple[Transcript, ...]
    counts: Mapping[Kind, int]
    """Tasks of each kind among all evaluated, by which a reader can weigh the ten."""


def kind_of(pair: Lesson) -> Kind:
    """Return what the teaching of this pair did."""
    if pair.leaked:
        return "leaked"
    if pair.attempt.correct:
        return "right anyway" if pair.alone.correct else "helped"
    return "harmed" if pair.alone.correct else "still wrong"


def choose_transcripts(pairs: Iterable[Lesson], arms: Sequence[str]) -> ShownTranscripts:
    """Choose the transcripts to show: at most as many as `QUOTAS` add up to.

    Args:
        pairs: Of any arms; those of arms not named are left out.
        arms: To be shown beside each other; the last one is the main arm.
    """
    by_arm: dict[str, dict[str, Lesson]] = {arm: {} for arm in arms}
    for pair in pairs:
        if pair.arm in by_arm:
            by_arm[pair.arm][pair.task.id] = pair
    if not arms:
        return ShownTranscripts(transcripts=(), counts={})
    main = by_arm[arms[-1]]
    shared = sorted(set.intersection(*(set(rows) for rows in by_arm.values())))
    queues: dict[Kind, list[str]] = {
        kind: _families_in_turn([main[task] for task in shared if kind_of(main[task]) == kind])
        for kind in QUOTAS
    }
    taken = _fill_quotas(queues)
    transcripts = tuple(
        _transcript(kind, [by_arm[arm][task] for arm in arms])
        for kind in QUOTAS
        for task in queues[kind][: taken[kind]]
    )
    counts: Counter[Kind] = Counter(kind_of(main[task]) for task in shared)
    return ShownTranscripts(transcripts=transcripts, counts=counts)


def _transcript(kind: Kind, taught: Sequence[Lesson]) -> Transcript:
    main = taught[-1]
    return Transcript(
        task=main.task,
        kind=kind,
        alone=main.alone,
        approach=main.approach.text,
        taught=tuple(taught),
    )


def _families_in_turn(pairs: Sequence[Lesson]) -> list[str]:
    """Return the task ids with families taking turns, alphabetically; each in the order given."""
    families: dict[str, list[str]] = {}
    for pair in pairs:
        families.setdefault(pair.task.family, []).append(pair.task.id)
    turns = zip_longest(*(families[family] for family in sorted(families)))
    return [task for turn in turns for task in turn if task is not None]


def _fill_quotas(queues: Mapping[Kind, Sequence[str]]) -> dict[Kind, int]:
    """Return how many to take of each kind: its quota, then free places in the quotas' order."""
    taken: dict[Kind, int] = {kind: min(quota, len(queues[kind])) for kind, quota in QUOTAS.items()}
    free = sum(QUOTAS.values()) - sum(taken.values())
    for kind in QUOTAS:
        extra = min(free, len(queues[kind]) - taken[kind])
        taken[kind] += extra
        free -= extra
    return taken
