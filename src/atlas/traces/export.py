"""Sessions of a store -> a JSONL file, with an account of what is in it and what isn't.

Stage: the way out of the database. Sessions pass through one page at a time; the file appears when
it is whole, and a selection without a session makes none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from atlas.errors import AtlasError
from atlas.run.progress import Progress
from atlas.run.stopping import StopRequest
from atlas.session import Session
from atlas.traces.jsonl import write_jsonl
from atlas.traces.store import SessionQuery, TraceStore

_FILTERS: Final = (
    "status_filters",
    "review_status_filters",
    "learning_key",
    "created_after",
    "start_date",
    "end_date",
    "min_reward",
    "max_reward",
)
"""The fields of ``SessionQuery`` that decide which sessions pass, in the order of ``left_out``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportSummary:
    """What was written."""

    path: Path
    num_sessions: int
    by_status: Mapping[str, int]
    by_review_status: Mapping[str, int]
    num_bytes: int
    replaced: bool
    """There was a file of this name before."""


def export_sessions(
    sessions: Iterable[Session], path: Path, *, progress: Progress, stop: StopRequest
) -> ExportSummary:
    """Write sessions to a file and count them; see ``write_jsonl``.

    Args:
        sessions: Taken one by one.
        path: Gzipped where it ends in ``.gz``. A file that is there is replaced when the new one
            is whole.
        progress: Told of each session; its ``begin`` is the caller's.

    Raises:
        AtlasError: there is no session, the store can't be read, or the file can't be written.
        Stopped: the user asked to stop; no file was written.
    """
    by_status: Counter[str] = Counter()
    by_review_status: Counter[str] = Counter()

    def counted() -> Iterator[Session]:
        for session in sessions:
            stop.check()
            by_status[session.status or "none"] += 1
            by_review_status[session.review_status or "none"] += 1
            yield session
            progress.advance()
        if not by_status:
            raise AtlasError(f"no session passes any more; {path} was not written")

    replaced = path.exists()
    number = write_jsonl(path, counted())
    return ExportSummary(
        path=path,
        num_sessions=number,
        by_status=by_status,
        by_review_status=by_review_status,
        num_bytes=path.stat().st_size,
        replaced=replaced,
    )


def left_out(store: TraceStore, query: SessionQuery) -> dict[str, int]:
    """Return how many sessions each filter of a query takes away from what the ones before left.

    Example: of 100 sessions, 60 failed, and 10 of the other 40 earned too little::

        left_out(store, SessionQuery(status_filters=["succeeded"], min_reward=0.8))
        {"status_filters": 60, "min_reward": 10}
    """
    taken: dict[str, int] = {}
    narrowed = SessionQuery()
    before = store.count(narrowed)
    for name in _FILTERS:
        value = getattr(query, name)
        if value is None:
            continue
        narrowed = replace(narrowed, **{name: value})
        now = store.count(narrowed)
        if now < before:
            taken[name] = before - now
        before = now
    return taken
