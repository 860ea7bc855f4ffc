"""What a reviewer decided about sessions in PostgreSQL.

Stage: session ids and a review status -> the rows of ``sessions``, in one transaction. Every reader
filters by it with ``SessionQuery.review_status_filters``.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Final, Literal, get_args

from atlas.errors import AtlasError
from atlas.traces.postgres.connection import (
    connect,
    describe,
    explained,
    read_only_snapshot,
)

ReviewStatus = Literal["pending", "approved", "quarantined"]

STATEMENT_TIMEOUT_MS: Final = 60_000
MAX_NAMED: Final = 10
"""Unknown ids that a message lists; the others are counted."""

_LOCK: Final = "SELECT id FROM sessions WHERE id = ANY(%s) ORDER BY id FOR UPDATE"
_STATUSES: Final = "SELECT id, review_status FROM sessions WHERE id = ANY(%s)"
_UPDATE: Final = (
    "UPDATE sessions SET review_status = %(status)s,"
    " review_notes = COALESCE(%(notes)s::text, review_notes)"
    " WHERE id = ANY(%(ids)s) AND (review_status IS DISTINCT FROM %(status)s"
    " OR review_notes IS DISTINCT FROM COALESCE(%(notes)s::text, review_notes))"
    " RETURNING id"
)


def set_review_status(
    db_url: str, session_ids: Sequence[int], status: ReviewStatus, notes: str | None = None
) -> list[int]:
    """Set the review status of sessions: of all of them or, after an error, of none.

    Args:
        db_url: ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE``.
        session_ids: Ids of the database; one that is named twice counts once.
        notes: The reviewer's reason; None leaves the notes that are there.

    Returns:
        The ids of the sessions that are different now, ascending. A session that had this status
        and these notes before is not among them.

    Raises:
        AtlasError: there is no session of some id (the text names it), or the database can't be
            reached, is no Atlas database or refuses.
        ValueError: there is no such status.
    """
    if status not in get_args(ReviewStatus):
        raise ValueError(f"status is {status!r}: give one of {', '.join(get_args(ReviewStatus))}")
    ids = sorted(set(session_ids))
    place = describe(db_url)
    with closing(connect(db_url)) as connection, explained(place), connection.transaction():
        connection.execute(
            "SELECT set_config('statement_timeout', %s, true)", [str(STATEMENT_TIMEOUT_MS)]
        )
        found = {row[0] for row in connection.execute(_LOCK, [ids])}
        if unknown := [number for number in ids if number not in found]:
            raise AtlasError(f"{place} has no session {_named(unknown)}: nothing was changed")
        values = {"status": status, "notes": notes, "ids": ids}
        return sorted(row[0] for row in connection.execute(_UPDATE, values))


def review_statuses(db_url: str, session_ids: Sequence[int]) -> dict[int, str | None]:
    """Return the review status of each of these sessions that is there, by id.

    Raises:
        AtlasError: the database can't be reached, or is no Atlas database.
    """
    with (
        closing(connect(db_url)) as connection,
        explained(describe(db_url)),
        read_only_snapshot(connection, STATEMENT_TIMEOUT_MS / 1000),
    ):
        return dict(connection.execute(_STATUSES, [sorted(set(session_ids))]).fetchall())


def _named(ids: list[int]) -> str:
    names = ", ".join(str(number) for number in ids[:MAX_NAMED])
    return names if len(ids) <= MAX_NAMED else f"{names} and {len(ids) - MAX_NAMED} more"
