"""Recorded sessions to samples: one pass over a store for each use, a session in memory at a time.

Input: a `TraceStore` and filters. Output: a `TraceDataset`. SFT learns from what went well, so the
reward and status filters go to the store with its query. RL needs what went badly even more: there
every session counts, and those two filters only say whose final answer may serve as a reference.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from atlas.data.recorded import RECORDED, judged, recorded_of
from atlas.data.samples import Prompt, Samples, TraceDataset, Use
from atlas.data.sft import Dialogue, dialogue_of, session_key
from atlas.data.sources.references import Reference, find_reference
from atlas.data.split import side_of
from atlas.session import Session
from atlas.traces.store import SessionQuery, TraceStore
from atlas.types import REFERENCE, Task

_KNOWN: Final = ("lanes", "min_confidence", "certified", "min_judge")
"""Filters that no store is asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionFilters:
    """Which sessions; the fields are keys of the configuration, explained there."""

    min_reward: float = 0.8
    status_filters: Sequence[str] = ("succeeded",)
    review_status_filters: Sequence[str] | None = None
    learning_key: str | None = None
    lanes: Sequence[str] | None = None
    min_confidence: float | None = None
    certified: bool | None = None
    min_judge: Mapping[str, Any] | None = None
    limit: int | None = None

    def good(self) -> SessionQuery:
        """Return the query for what SFT learns from."""
        return SessionQuery(
            min_reward=self.min_reward,
            status_filters=self.status_filters,
            review_status_filters=self.review_status_filters,
            learning_key=self.learning_key,
            include_trajectory_events=False,
            include_learning_data=False,
        )

    def all(self) -> SessionQuery:
        """Return the query for what RL prompts are made of."""
        return replace(self.good(), min_reward=None, status_filters=None)

    def well_judged(self, session: Session) -> bool:
        """Tell whether the judges gave a session enough for it to be learned from."""
        return judged(session, self.min_judge or {})

    def passes(self, session: Session) -> bool:
        """Tell whether a session counts, by what no store is asked for."""
        found = recorded_of(session)
        return (
            (self.lanes is None or found.get("lane") in self.lanes)
            and (self.min_confidence is None or found.get("confidence", -1) >= self.min_confidence)
            and (self.certified is None or found.get("certified") is self.certified)
        )

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
    keep_unverified: bool = False,
    only_sessions: Collection[str] | None = None,
) -> TraceDataset:
    """Return the samples of a store's sessions.

    Args:
        store: Read once for each use.
        eval_split_ratio: Share of the tasks that is held out with all of their sessions.
        keep_unverified: Tasks without a reference answer are prompts of RL, too.
        only_sessions: No other session counts: those that a run was begun with.

    Raises:
        AtlasError: The store can't be read.
    """
    sft: Samples[Dialogue] = Samples()
    rl: Samples[Prompt] = Samples()
    if use != "rl":
        sft = _dialogues(store, filters, eval_split_ratio, only_sessions)
    if use != "sft":
        rl = _prompts(store, filters, eval_split_ratio, only_sessions, keep_unverified)
    chosen = {**filters.as_json(), "eval_split_ratio": eval_split_ratio}
    return TraceDataset(source=source, filters=chosen, sft=sft, rl=rl)


def in_order(session: str) -> tuple[int, str]:
    """Return the place of a session's name; numbers stand in the order of numbers."""
    return len(session), session


def _sessions(
    store: TraceStore,
    filters: SessionFilters,
    query: SessionQuery,
    only: Collection[str] | None,
    counts: Callable[[Session], bool] = lambda session: True,
) -> Iterator[Session]:
    """Yield the sessions that pass all filters, at most ``limit`` of them."""
    known = any(getattr(filters, name) is not None for name in _KNOWN)
    found = (
        session
        # What only we can tell is not counted by the store.
        for session in store.sessions(query if known else replace(query, limit=filters.limit))
        if filters.passes(session) and counts(session)
    )
    for session in itertools.islice(found, filters.limit):
        if only is None or session_key(session) in only:
            yield session


def _dialogues(
    store: TraceStore, filters: SessionFilters, eval_share: float, only: Collection[str] | None
) -> Samples[Dialogue]:
    sides: dict[str, list[Dialogue]] = {"train": [], "eval": []}
    left_out: Counter[str] = Counter()
    num_read = 0
    for session in _sessions(store, filters, filters.good(), only, filters.well_judged):
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
    store: TraceStore,
    filters: SessionFilters,
    eval_share: float,
    only: Collection[str] | None,
    keep_unverified: bool,
) -> Samples[Prompt]:
    met: dict[str, list[str]] = {}
    """Question -> the sessions on it."""
    best: dict[str, Reference] = {}
    known: dict[str, tuple[tuple[int, str], dict[str, Any]]] = {}
    """Question -> what its latest session says besides, after the place of that."""
    left_out: Counter[str] = Counter()
    good = filters.good()
    num_read = 0
    for session in _sessions(store, filters, filters.all(), only):
        key = session_key(session)
        num_read += 1
        question = session.task.strip()
        met.setdefault(question, []).append(key)
        found = find_reference(
            session, key, trusted=good.matches(session) and filters.well_judged(session)
        )
        if found and (question not in best or found.rank > best[question].rank):
            best[question] = found
        if question not in known or in_order(key) > known[question][0]:
            known[question] = in_order(key), {"session": key, **recorded_of(session)}
    prompts: dict[str, list[Prompt]] = {"train": [], "eval": []}
    for question, sessions in met.items():
        reference = best.get(question)
        task = reference.task if reference else None
        if task is None and keep_unverified:
            task = Task(question=question, answer="", family=REFERENCE)
        if task is not None:
            recorded = known[question][1]
            task = replace(task, metadata={**task.metadata, RECORDED: recorded})
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
