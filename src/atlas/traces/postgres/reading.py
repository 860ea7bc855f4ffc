"""Reading sessions from PostgreSQL.

Stage: ``SessionQuery`` -> pages of ``Session``, newest first. First the ids of the next sessions
are listed (``postgres_listing``), then each page is read by its ids (``postgres_page``): a
constant number of queries, whatever the number of sessions, in one read-only transaction. The next
listing starts after the last (created_at, id), so that no session is skipped or repeated that was
there before. Only bound parameters reach the server.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import partial
from typing import Final

from atlas.session import Session
from atlas.traces.postgres.connection import Connection, Reader, rows_of
from atlas.traces.postgres.listing import (
    FIRST_LISTING_PAGES,
    ListedPage,
    Position,
    events_are_indexed,
    list_sessions,
    where,
)
from atlas.traces.postgres.page import OtherColumns, find_other_columns, read_page
from atlas.traces.store import DEFAULT_PAGE_SIZE, SessionQuery

DEFAULT_STATEMENT_TIMEOUT_S: Final = 60.0
MAX_STATEMENT_TIMEOUT_S: Final = 2_000_000
"""23 days; PostgreSQL counts milliseconds in 31 bits."""


class PostgresTraceStore:
    """Sessions in a PostgreSQL database with the Atlas SDK's tables.

    Args:
        db_url: ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE``.
        page_size: Sessions per page, the most that are in memory at a time.
        statement_timeout_s: The server cancels a statement that takes longer, in seconds.
        retry_s: How long to wait for a server that goes away in the middle, in seconds.

    Raises:
        AtlasError: ``db_url`` can't be read.
    """

    def __init__(
        self,
        db_url: str,
        *,
        page_size: int = DEFAULT_PAGE_SIZE,
        statement_timeout_s: float = DEFAULT_STATEMENT_TIMEOUT_S,
        retry_s: float = 30.0,
    ) -> None:
        if page_size < 1:
            raise ValueError(f"page_size is {page_size}: it must be at least 1")
        if not 0 < statement_timeout_s < MAX_STATEMENT_TIMEOUT_S:
            raise ValueError(
                f"statement_timeout_s is {statement_timeout_s}: it must be positive and less than "
                f"{MAX_STATEMENT_TIMEOUT_S:,} s"
            )
        self._page_size = page_size
        self._reader = Reader(db_url=db_url, timeout_s=statement_timeout_s, retry_s=retry_s)

    def pages(self, query: SessionQuery) -> Generator[list[Session]]:
        """Yield the sessions, newest first, in pages; no page is empty.

        A connection is held as long as the iterator is, a transaction only while a page is read.

        Raises:
            AtlasError: the server can't be reached, isn't an Atlas database or takes too long.
        """
        left = query.limit
        position: Position | None = None
        size = FIRST_LISTING_PAGES * self._page_size
        with self._reader.connected() as read:
            others, indexed = read(_find_layout)
            while left is None or left > 0:
                size = size if left is None else min(left, size)
                listing = read(
                    partial(
                        list_sessions,
                        query=query,
                        after=position,
                        size=size,
                        page_size=self._page_size,
                        list_events=query.include_trajectory_events and not indexed,
                    )
                )
                for keys in listing.pages:
                    page = read(partial(read_page, page=keys, query=query, others=others))
                    left = None if left is None else left - len(page)
                    if page:
                        yield page
                    del page  # before the next one is read
                if listing.num_sessions < size:
                    return
                position = listing.last
                size = listing.next_size(self._page_size)

    def sessions(self, query: SessionQuery) -> Iterator[Session]:
        """Yield the sessions one by one, newest first; see ``pages``."""
        for page in self.pages(query):
            yield from page
            del page  # before the next one is read

    def count(self, query: SessionQuery) -> int:
        """Return how many sessions pass the filters, ``limit`` and ``offset`` set aside.

        Raises:
            AtlasError: as in ``pages``.
        """
        conditions, values = where(query)
        statement = f"SELECT count(*) FROM sessions WHERE {conditions}"
        with self._reader.connected() as read:
            return read(partial(rows_of, statement=statement, values=values))[0][0]

    def get(
        self,
        session_id: int,
        *,
        include_trajectory_events: bool = True,
        include_learning_data: bool = True,
    ) -> Session | None:
        """Return one session, or None where there is none of this id.

        Raises:
            AtlasError: as in ``pages``.
        """
        query = SessionQuery(
            include_trajectory_events=include_trajectory_events,
            include_learning_data=include_learning_data,
        )
        with self._reader.connected() as read:
            others = read(find_other_columns)
            keys = ListedPage([session_id])
            found = read(partial(read_page, page=keys, query=query, others=others))
        return found[0] if found else None


def _find_layout(connection: Connection) -> tuple[OtherColumns, bool]:
    return find_other_columns(connection), events_are_indexed(connection)
