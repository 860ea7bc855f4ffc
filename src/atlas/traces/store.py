"""What to read, and the protocol of every place that sessions are read from.

Stage: the seam between the stores and whoever wants sessions. ``SessionQuery`` -> sessions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from typing import Protocol

from atlas.session import MISSING, Session

DEFAULT_PAGE_SIZE = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionQuery:
    """Which sessions, and how much of each. A filter left out lets every session pass.

    Times without a zone are UTC.

    Example: what SFT learns from:
        >>> query = SessionQuery(min_reward=0.8, status_filters=["succeeded"])
        >>> query.matches(Session(task="t", status="failed"))
        False

    Raises:
        ValueError: a bound, limit or filter can't be meant as it stands.
    """

    min_reward: float | None = None
    """The score is at least this; a session without a score is out as soon as a bound is set."""
    max_reward: float | None = None
    status_filters: Sequence[str] | None = None
    review_status_filters: Sequence[str] | None = None
    learning_key: str | None = None
    created_after: datetime | date | None = None
    """Created at this time or later."""
    start_date: datetime | date | None = None
    """The same bound as ``created_after``; where both are set, both hold."""
    end_date: datetime | date | None = None
    """Created at this time or before; a date without time includes the whole day."""
    limit: int | None = None
    """At most so many sessions; None: all."""
    offset: int = 0
    """Skip so many first."""
    include_trajectory_events: bool = True
    include_learning_data: bool = True
    """False: ``student_learning``, ``teacher_learning`` and ``learning_history`` stay MISSING."""

    def __post_init__(self) -> None:
        """Refuse what can't be meant."""
        for name in ("min_reward", "max_reward"):
            bound = getattr(self, name)
            if bound is not None and not math.isfinite(bound):
                raise ValueError(f"{name} is {bound}: give a finite number, or leave it out")
        for name in ("status_filters", "review_status_filters"):
            object.__setattr__(self, name, _statuses(name, getattr(self, name)))
        for name in ("created_after", "start_date", "end_date"):
            bound = getattr(self, name)
            if bound is not None and not isinstance(bound, date):
                raise ValueError(f"{name} is {bound!r}: give a date or a datetime")
        for name in ("limit", "offset"):
            number = getattr(self, name)
            if number is not None and not 0 <= number < 2**63:
                raise ValueError(f"{name} is {number}: it must not be negative, and below 2**63")

    @property
    def earliest(self) -> datetime | None:
        """The first instant that is included; None: no bound."""
        bounds = [_first_instant(at) for at in (self.created_after, self.start_date) if at]
        return max(bounds, default=None)

    @property
    def latest(self) -> datetime | None:
        """The last instant that is included; None: no bound."""
        if self.end_date is None or isinstance(self.end_date, datetime):
            return None if self.end_date is None else _first_instant(self.end_date)
        return datetime.combine(self.end_date, time.max, UTC)

    def matches(self, session: Session) -> bool:
        """Return whether a session passes the filters; a database answers the same question."""
        return (
            self._matches_score(session.score)
            and (self.status_filters is None or session.status in self.status_filters)
            and (
                self.review_status_filters is None
                or session.review_status in self.review_status_filters
            )
            and (self.learning_key is None or session.learning_key == self.learning_key)
            and self._matches_time(session.created_at)
        )

    def trimmed(self, session: Session) -> Session:
        """Return a session without what the query leaves out; a database does not even read it."""
        if not self.include_trajectory_events:
            session = replace(session, trajectory_events=MISSING)
        if not self.include_learning_data:
            session = replace(
                session,
                student_learning=MISSING,
                teacher_learning=MISSING,
                learning_history=MISSING,
            )
        return session

    def _matches_score(self, score: float | None) -> bool:
        if self.min_reward is None and self.max_reward is None:
            return True
        return (
            score is not None
            and (self.min_reward is None or score >= self.min_reward)
            and (self.max_reward is None or score <= self.max_reward)
        )

    def _matches_time(self, created_at: datetime | None) -> bool:
        earliest, latest = self.earliest, self.latest
        if earliest is None and latest is None:
            return True
        return (
            created_at is not None
            and (earliest is None or created_at >= earliest)
            and (latest is None or created_at <= latest)
        )


class TraceStore(Protocol):
    """A place that sessions are read from."""

    def pages(self, query: SessionQuery) -> Iterator[list[Session]]:
        """Yield the sessions in pages, one page in memory at a time; no page is empty."""
        ...

    def sessions(self, query: SessionQuery) -> Iterator[Session]:
        """Yield the sessions one by one."""
        ...

    def count(self, query: SessionQuery) -> int:
        """Return how many sessions pass the filters, ``limit`` and ``offset`` set aside."""
        ...


def _statuses(name: str, statuses: Sequence[str] | None) -> tuple[str, ...] | None:
    if isinstance(statuses, str):
        raise ValueError(f"{name} is the text {statuses!r}: give a list, [{statuses!r}]")
    if statuses is not None and len(statuses) == 0:
        raise ValueError(f"{name} is empty: leave it out to let every status pass")
    return None if statuses is None else tuple(statuses)


def _first_instant(at: datetime | date) -> datetime:
    if not isinstance(at, datetime):
        at = datetime.combine(at, time.min)
    return at if at.tzinfo else at.replace(tzinfo=UTC)
