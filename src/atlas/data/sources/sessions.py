"""Recorded sessions to samples: one pass over a store for each use, a session in memory at a time.

Input: a `TraceStore` and filters. Output: a `TraceDataset`. SFT learns from what went well, so the
reward and status filters go to the store with its query. RL needs what went badly even more: there
every session counts, and those two filters only say whose final answer may serve as a reference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from atlas.data.samples import Prompt, Samples, TraceDataset, Use
from atlas.data.sft import Dialogue, dialogue_of, session_key
from atlas.data.sources.references import Reference, find_reference
from atlas.data.split import side_of
from atlas.traces.store import SessionQuery, TraceStore
from atlas.types import Task


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionFilters:
    """Which sessions; the fields are keys of the configuration, explained there."""

    min_reward: float = 0.8
    status_filters: Sequence[str] = ("succeeded",)
    review_status_filters: Sequence[str] | None = None
    learning_key: str | None = None
    limit: int | None = None

    def good(self) -> SessionQuery:
        """Return the query for what SFT learns from."""
        return SessionQuery(
            min_reward=self.min_reward,
            status_filters=self.status_filters,
            review_status_filters=self.review_status_filters,
            learning_key=self.learning_key,
            limit=self.limit,
            include_trajectory_events=False,
            include_learning_data=False,
        )

    def all(self) -> SessionQuery:
        """Return the query for what RL prompts are made of."""
        return replace(self.good(), min_reward=None, status_filters=None)

    def as_json(self) -> dict[str, Any]:
        """Return what was set, for lineage."""
        return {
            name: list(value) if isinstance(value, tuple | list) else value
            for name, value in asdict(self).items()
            if value is not None
        }


def read_dataset(
    store: TraceStore,
    source: str,
    filters: SessionFilters,
    *,
    use: Use,
    eval_split_ratio: float,
    only_sessions: Collection[str] | None = None,
) -> TraceDataset:
    """Return the samples of a store's sessions.

    Args:
        store: Read once for each use.
        eval_split_ratio: Share of the tasks that is held out with all of their sessions.
        only_sessions: No other session counts: those that a run was begun with.

    Raises:
        AtlasError: The store can't be read.
    """
    sft: Samples[Dialogue] = Samples()
    rl: Samples[Prompt] = Samples()
    if use != "rl":
        sft = _dialogues(store, filters, eval_split_ratio, only_sessions)
    if use != "sft":
        rl = _prompts(store, filters, eval_split_ratio, only_sessions)
    chosen = {**filters.as_json(), "eval_split_ratio": eval_split_ratio}
    return TraceDataset(source=source, filters=chosen, sft=sft, rl=rl)


def in_order(session: str) -> tuple[int, str]:
    """Return the place of a session's name; numbers stand in the order of numbers."""
    return len(session), session


def _dialogues(
    store: TraceStore, filters: SessionFilters, eval_share: float, only: Collection[str] | None
) -> Samples[Dialogue]:
    sides: dict[str, list[Dialogue]] = {"train": [], "eval": []}
    left_out: Counter[str] = Counter()
    num_read = 0
    for session in store.sessions(filters.good()):
        if only is not None and session_key(session) not in only:
            continue
        num_read += 1
        dialogue = dialogue_of(session)
        if isinstance(dialogue, Dialogue):
            sides[side_of(session.task, eval_share)].append(dialogue)
        else:
            left_out[dialogue] += 1
    for side in sides.values():
        # Every source gives the same order, so that the training is the same.
        side.sort(key=lambda dialogue: in_order(dialogue.session))
    return Samples(
        train=tuple(sides["train"]),
        eval=tuple(sides["eval"]),
        num_read=num_read,
        left_out=left_out | _broken(store),
    )


def _prompts(
    store: TraceStore, filters: SessionFilters, eval_share: float, only: Collection[str] | None
) -> Samples[Prompt]:
    met: dict[str, list[str]] = {}
    """Question -> the sessions on it."""
    best: dict[str, Reference] = {}
    left_out: Counter[str] = Counter()
    good = filters.good()
    num_read = 0
    for session in store.sessions(filters.all()):
        key = session_key(session)
        if only is not None and key not in only:
            continue
        num_read += 1
        question = session.task.strip()
        met.setdefault(question, []).append(key)
        found = find_reference(session, key, trusted=good.matches(session))
        if found and (question not in best or found.rank > best[question].rank):
            best[question] = found
    prompts: dict[str, list[Prompt]] = {"train": [], "eval": []}
    for question, sessions in met.items():
        reference = best.get(question)
        if isinstance(task := reference.task if reference else None, Task):
            ordered = tuple(sorted(sessions, key=in_order))
            prompts[side_of(question, eval_share)].append(Prompt(task=task, sessions=ordered))
        else:
            left_out[reference.unusable if reference else "tasks without a reference answer"] += 1
    for side in prompts.values():
        side.sort(key=lambda prompt: prompt.task.id)
    return Samples(
        train=tuple(prompts["train"]),
        eval=tuple(prompts["eval"]),
        num_read=num_read,
        left_out=left_out | _broken(store),
    )


def _broken(store: TraceStore) -> Counter[str]:
    lines = len(getattr(store, "broken", ()))
    return Counter({"broken lines": lines} if lines else {})
