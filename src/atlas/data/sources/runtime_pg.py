"""Source: sessions in the PostgreSQL database that they were recorded in."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from atlas.data.samples import TraceDataset, Use
from atlas.data.sources.sessions import SessionFilters, read_dataset
from atlas.errors import AtlasError
from atlas.traces.postgres.connection import describe
from atlas.traces.postgres.reading import PostgresTraceStore


def get_runtime_pg_dataset(
    db_url: str | None = None,
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
    use: Use = "both",
    only_sessions: Collection[str] | None = None,
) -> TraceDataset:
    """Return the samples of the sessions in a database.

    Args:
        db_url: ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE``.
        eval_split_ratio: Share of the tasks that is held out with all of their sessions.
        min_reward: For SFT: the least reward, compared in the database. For RL: whose final answer
            may be a reference.
        status_filters: The same for the status.
        review_status_filters: Only sessions with one of these; None lets all pass.
        learning_key: Only sessions that were recorded under it.
        lanes: Only sessions that ran in one of these.
        min_confidence: Only those whose probe was so confident.
        certified: Only certification runs, or only others.
        min_judge: For SFT: the least score, by judge.
        keep_unverified: For RL: tasks without a reference answer stay.
        limit: At most so many sessions, the newest.
        use: What isn't wanted isn't read.
        only_sessions: No other session counts.

    Raises:
        AtlasError: No database is named; it can't be reached or is no Atlas database.
    """
    if db_url is None:
        raise AtlasError("give db_url=postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    return read_dataset(
        PostgresTraceStore(db_url),
        describe(db_url),
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
