"""Training sessions straight from the trace database: the public query API.

Stage: ``db_url`` and filters -> typed sessions, newest first. Every function has an ``_async``
twin; the plain ones work inside a running event loop, too, as in a notebook.

    from atlas.training_data import get_training_sessions

    sessions = get_training_sessions(
        db_url="postgresql://atlas:atlas@localhost:5433/atlas",
        min_reward=0.8,
        status_filters=["succeeded"],
        limit=10000,
    )

The filters are the fields of ``atlas.traces.store.SessionQuery``, explained there. They are applied
in the database. Where a very large one needs more than a minute for a statement, raise
``statement_timeout_s``. An ``AtlasError`` says when the database can't be reached or is no Atlas
database.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from datetime import date, datetime
from typing import Any, ParamSpec, TypedDict, TypeVar, Unpack

from atlas.session import Session
from atlas.traces.postgres.connection import DEFAULT_DB_URL
from atlas.traces.postgres.page import collector_paused
from atlas.traces.postgres.reading import DEFAULT_STATEMENT_TIMEOUT_S, PostgresTraceStore
from atlas.traces.store import DEFAULT_PAGE_SIZE, SessionQuery

P = ParamSpec("P")
T = TypeVar("T")


class Filters(TypedDict, total=False):
    """Which sessions."""

    min_reward: float | None
    max_reward: float | None
    status_filters: Sequence[str] | None
    review_status_filters: Sequence[str] | None
    learning_key: str | None
    created_after: datetime | date | None
    start_date: datetime | date | None
    end_date: datetime | date | None


class Selection(Filters, total=False):
    """Which sessions, how many of them and how much of each."""

    limit: int | None
    offset: int
    include_trajectory_events: bool
    include_learning_data: bool


def _in_thread(function: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Return the twin of a function that doesn't block the event loop."""

    @functools.wraps(function)
    async def twin(*args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.to_thread(function, *args, **kwargs)

    return twin


def get_training_sessions(
    db_url: str = DEFAULT_DB_URL,
    *,
    statement_timeout_s: float = DEFAULT_STATEMENT_TIMEOUT_S,
    **selection: Unpack[Selection],
) -> list[Session]:
    """Return the sessions that pass, newest first.

    All of them are in memory at once; ``paginate_sessions`` holds one page.

    Args:
        db_url: ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE``.
        statement_timeout_s: The server cancels a statement that takes longer, in seconds.
        **selection: Filters, ``limit``, ``offset`` and what to leave out of each session.

    Raises:
        AtlasError: the database can't be reached, is no Atlas database or takes too long.
        ValueError: a filter can't be meant as it stands.
    """
    store = PostgresTraceStore(db_url, statement_timeout_s=statement_timeout_s)
    with collector_paused():
        return list(store.sessions(SessionQuery(**selection)))


def paginate_sessions(
    db_url: str = DEFAULT_DB_URL,
    *,
    page_size: int = DEFAULT_PAGE_SIZE,
    statement_timeout_s: float = DEFAULT_STATEMENT_TIMEOUT_S,
    **selection: Unpack[Selection],
) -> Iterator[list[Session]]:
    """Yield the sessions that pass in pages of ``page_size``, never more than one in memory.

    Args:
        db_url: ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE``.
        statement_timeout_s: The server cancels a statement that takes longer, in seconds.

    Raises:
        AtlasError: the database can't be reached, is no Atlas database or takes too long.
        ValueError: a filter can't be meant as it stands.
    """
    store = PostgresTraceStore(db_url, page_size=page_size, statement_timeout_s=statement_timeout_s)
    return store.pages(SessionQuery(**selection))


async def paginate_sessions_async(
    db_url: str = DEFAULT_DB_URL,
    *,
    page_size: int = DEFAULT_PAGE_SIZE,
    statement_timeout_s: float = DEFAULT_STATEMENT_TIMEOUT_S,
    **selection: Unpack[Selection],
) -> AsyncIterator[list[Session]]:
    """Do the same as ``paginate_sessions`` without blocking the event loop."""
    store = PostgresTraceStore(db_url, page_size=page_size, statement_timeout_s=statement_timeout_s)
    pages = store.pages(SessionQuery(**selection))
    waiting: asyncio.Future[list[Session] | None] | None = None
    try:
        while True:
            waiting = asyncio.ensure_future(asyncio.to_thread(next, pages, None))
            # Shielded, since a thread can't be cancelled and must be done before the pages are
            # closed under it.
            page = await asyncio.shield(waiting)
            if page is None:
                return
            yield page
            page = waiting = None  # before the next one is read
    finally:
        if waiting is not None and not waiting.done():
            await asyncio.wait([waiting])
        pages.close()


def get_session_by_id(
    db_url: str,
    session_id: int,
    *,
    include_trajectory_events: bool = True,
    include_learning_data: bool = True,
    statement_timeout_s: float = DEFAULT_STATEMENT_TIMEOUT_S,
) -> Session | None:
    """Return one session, or None where there is none of this id.

    Raises:
        AtlasError: the database can't be reached, is no Atlas database or takes too long.
    """
    return PostgresTraceStore(db_url, statement_timeout_s=statement_timeout_s).get(
        session_id,
        include_trajectory_events=include_trajectory_events,
        include_learning_data=include_learning_data,
    )


def count_training_sessions(
    db_url: str = DEFAULT_DB_URL,
    *,
    statement_timeout_s: float = DEFAULT_STATEMENT_TIMEOUT_S,
    **filters: Unpack[Filters],
) -> int:
    """Return how many sessions pass, without reading them.

    Raises:
        AtlasError: the database can't be reached, is no Atlas database or takes too long.
        ValueError: a filter can't be meant as it stands.
    """
    store = PostgresTraceStore(db_url, statement_timeout_s=statement_timeout_s)
    return store.count(SessionQuery(**filters))


get_training_sessions_async = _in_thread(get_training_sessions)
get_session_by_id_async = _in_thread(get_session_by_id)
count_training_sessions_async = _in_thread(count_training_sessions)
