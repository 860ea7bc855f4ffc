"""The options that choose sessions, shared by ``atlas export`` and ``atlas review``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from atlas.errors import AtlasError
from atlas.session import Session
from atlas.traces.store import SessionQuery

if TYPE_CHECKING:
    from atlas.traces.postgres.reading import PostgresTraceStore

OPTIONS: Final[Mapping[str, str]] = {
    "status_filters": "--status",
    "review_status_filters": "--review-status or --include-status",
    "learning_key": "--learning-key",
    "start_date": "--since",
    "end_date": "--until",
    "min_reward": "--min-reward",
    "max_reward": "--max-reward",
}
"""Field of ``SessionQuery`` -> the option that sets it."""


Database = Annotated[
    str | None,
    typer.Option(
        help="URL, or a run directory with an embedded server's data; else the environment's "
        "STORAGE__DATABASE_URL or DATABASE_URL, else the guide's database",
        metavar="URL|FOLDER",
    ),
]
Status = Annotated[list[str] | None, typer.Option(help="Only this status; may be repeated")]
Include = Annotated[
    list[str] | None,
    typer.Option(help="Only approved sessions and those of this review status; may be repeated"),
]
SessionIds = Annotated[
    list[int] | None, typer.Option("--session-id", help="Only this session; may be repeated")
]
Limit = Annotated[int | None, typer.Option(help="At most so many, newest first", min=1)]
Offset = Annotated[int, typer.Option(help="Skip so many first", min=0)]


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectionOptions:
    """The options as they were given; None or empty where one wasn't."""

    status: Status = None
    review_status: Annotated[
        list[str] | None, typer.Option(help="Only this review status; may be repeated")
    ] = None
    learning_key: Annotated[
        str | None, typer.Option(help="Only sessions recorded under this learning key")
    ] = None
    since: Annotated[
        str | None, typer.Option(help="Only created then or later: 2026-01-31, or with a time")
    ] = None
    until: Annotated[
        str | None, typer.Option(help="Only created then or before; a day counts as a whole")
    ] = None
    min_reward: Annotated[float | None, typer.Option(help="Only with at least this reward")] = None
    max_reward: Annotated[float | None, typer.Option(help="Only with at most this reward")] = None
    include_status: Sequence[str] | None = None
    """Review statuses that are wanted besides ``approved``, as the Atlas SDK's exporter has it."""

    @property
    def is_empty(self) -> bool:
        """No option was given, so that every session passes."""
        return not any(getattr(self, f.name) not in (None, [], ()) for f in fields(self))

    def query(
        self, *, limit: int | None = None, offset: int = 0, events: bool = True
    ) -> SessionQuery:
        """Return what to ask a store for.

        Raises:
            AtlasError: An option can't be meant as it stands.
        """
        review = list(self.review_status or ())
        if self.include_status:
            review += ["approved", *self.include_status]
        try:
            return SessionQuery(
                status_filters=self.status or None,
                review_status_filters=list(dict.fromkeys(review)) or None,
                learning_key=self.learning_key,
                start_date=_time("--since", self.since),
                end_date=_time("--until", self.until),
                min_reward=self.min_reward,
                max_reward=self.max_reward,
                limit=limit,
                offset=offset,
                include_trajectory_events=events,
            )
        except ValueError as error:
            raise AtlasError(str(error)) from error


def by_id(store: PostgresTraceStore, ids: Sequence[int], *, events: bool) -> Iterator[Session]:
    """Yield the sessions of these ids in the order of the ids.

    Raises:
        AtlasError: There is no session of some id.
    """
    for session_id in dict.fromkeys(ids):
        session = store.get(session_id, include_trajectory_events=events)
        if session is None:
            raise AtlasError(f"there is no session {session_id}; atlas review list shows them")
        yield session


def said_left_out(taken: Mapping[str, int]) -> str:
    """Return ``60 by --status, 10 by --min-reward``."""
    return ", ".join(f"{count} by {OPTIONS[name]}" for name, count in taken.items())


def _time(option: str, text: str | None) -> date | datetime | None:
    """Read a day, which counts as a whole, or an instant."""
    if text is None:
        return None
    try:
        is_day = len(text.strip()) == len("2026-01-31")
        return (date if is_day else datetime).fromisoformat(text.strip())
    except ValueError:
        raise AtlasError(
            f"{option} is '{text}': write a day as in 2026-01-31, or a time as in "
            "2026-01-31T18:00+01:00"
        ) from None
