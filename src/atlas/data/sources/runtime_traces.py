"""Source: sessions in a JSONL file, as `atlas export` or the Atlas SDK's exporter writes them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from atlas.data.samples import TraceDataset, Use
from atlas.data.sources.sessions import SessionFilters, read_dataset
from atlas.errors import AtlasError
from atlas.traces.jsonl import JsonlTraceStore, OnBroken


def get_runtime_trace_dataset(
    export_path: str | Path | None = None,
    dataset_path: str | Path | None = None,
    *,
    eval_split_ratio: float = 0.1,
    min_reward: float = 0.8,
    status_filters: Sequence[str] = ("succeeded",),
    review_status_filters: Sequence[str] | None = None,
    learning_key: str | None = None,
    lanes: Sequence[str] | None = None,
    min_confidence: float | None = None,
    certified: bool | None = None,
    min_judge: Mapping[str, Any] | None = None,
    keep_unverified: bool | None = None,
    limit: int | None = None,
    on_broken: OnBroken = "error",
    use: Use = "both",
    only_sessions: Collection[str] | None = None,
) -> TraceDataset:
    """Return the samples of the sessions in a JSONL file.

    Args:
        export_path: The file, gzipped if it ends in ``.gz``.
        dataset_path: Another name for the same.
        on_broken: ``error`` stops at a broken line, ``skip`` counts it.

    The others are those of `get_runtime_pg_dataset`; ``limit`` takes the first in the file.

    Raises:
        AtlasError: No file is named, or two; it can't be read, or a line is broken.
    """
    path = _one_path(export_path, dataset_path)
    return read_dataset(
        JsonlTraceStore(path, on_broken=on_broken),
        str(path),
        SessionFilters(
            min_reward=min_reward,
            status_filters=status_filters,
            review_status_filters=review_status_filters,
            learning_key=learning_key,
            lanes=lanes,
            min_confidence=min_confidence,
            certified=certified,
            min_judge=min_judge,
            limit=limit,
        ),
        use=use,
        eval_split_ratio=eval_split_ratio,
        keep_unverified=bool(keep_unverified),
        only_sessions=only_sessions,
    )


def _one_path(export_path: str | Path | None, dataset_path: str | Path | None) -> Path:
    paths = {Path(path) for path in (export_path, dataset_path) if path is not None}
    if len(paths) > 1:
        raise AtlasError(
            f"export_path={export_path} and dataset_path={dataset_path} name different files; "
            "leave one of them out"
        )
    if not paths:
        raise AtlasError("give export_path=… (or dataset_path=…), a JSONL file of sessions")
    return paths.pop()
