"""``atlas review``: look at sessions, and say which of them may be used."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import typer
from rich.markup import escape
from rich.table import Table

from atlas.cli.selection import Selection, said_left_out
from atlas.cli.terminal import console
from atlas.errors import AtlasError
from atlas.session import Session
from atlas.traces.export import left_out
from atlas.traces.open_database import database
from atlas.traces.postgres.connection import describe
from atlas.traces.postgres.reading import PostgresTraceStore
from atlas.traces.postgres.review import ReviewStatus, set_review_status
from atlas.traces.store import SessionQuery

SHORTEST_TASK: Final = 20
"""Characters of a task that are shown however narrow the terminal is."""


def show(database_url: str | None, selection: Selection, *, limit: int, offset: int = 0) -> None:
    """Run ``atlas review list``."""
    query = selection.query(limit=limit, offset=offset, events=False)
    with database(database_url) as db_url:
        store = PostgresTraceStore(db_url)
        sessions, found = list(store.sessions(query)), store.count(query)
        total = store.count(SessionQuery())
        taken = {} if found == total else left_out(store, query)
        place = describe(db_url)
    if sessions:
        console.print(_table(sessions))
    more = found - offset - len(sessions)
    says = f"{len(sessions)} of {found} that match" + (f", {more} more" if more > 0 else "")
    reasons = f"; left out: {said_left_out(taken)}" if taken else ""
    console.print(f"{says}; {total} in {place}{reasons}", markup=False, soft_wrap=True)


def decide(
    database_url: str | None,
    ids: Sequence[int],
    selection: Selection,
    status: ReviewStatus,
    *,
    notes: str | None,
    yes: bool,
) -> None:
    """Run ``atlas review approve``, ``quarantine`` or ``reset``."""
    if bool(ids) is not selection.is_empty:
        raise AtlasError(
            "name sessions by their ids or by filters, as in: atlas review approve 3 4, or: atlas "
            "review approve --min-reward 0.9 --yes"
        )
    with database(database_url) as db_url:
        if not ids:
            passing = _passing(PostgresTraceStore(db_url), selection, status)
            if not passing:
                console.print(f"Nothing to change: all that pass are {status} already.")
                return
            were = ", ".join(f"{n} {name}" for name, n in Counter(passing.values()).items())
            _confirm(f"{len(passing)} session(s) become {status}; they are: {were}", yes=yes)
            ids = list(passing)
        changed = set_review_status(db_url, ids, status, notes)
    unchanged = len(set(ids)) - len(changed)
    rest = f"; {unchanged} had it before" if unchanged else ""
    console.print(f"{len(changed)} session(s) are {status} now{rest}")


def _passing(
    store: PostgresTraceStore, selection: Selection, status: ReviewStatus
) -> dict[int, str]:
    """Return the ids of sessions that pass and would change, with their review status now."""
    query = replace(selection.query(events=False), include_learning_data=False)
    return {
        session.id: session.review_status or "none"
        for session in store.sessions(query)
        if session.id is not None and session.review_status != status
    }


def _confirm(what: str, *, yes: bool) -> None:
    console.print(what)
    if yes:
        return
    if not sys.stdin.isatty():
        raise AtlasError("nothing was changed; --yes does it without asking")
    if not typer.confirm("Do it?"):
        raise AtlasError("nothing was changed")


def _table(sessions: Sequence[Session]) -> Table:
    """Return a row a session, its task cut so that the row fits."""
    titles = ("id", "created", "status", "review", "score", "task")
    rows = [_row(session) for session in sessions]
    widths = [
        max(map(len, cells)) for cells in zip(titles[:-1], *(r[:-1] for r in rows), strict=True)
    ]
    room = max(SHORTEST_TASK, console.width - sum(widths) - 2 * len(widths))
    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(
            title, no_wrap=True, justify="right" if title in ("id", "score") else "left"
        )
    for *cells, task in rows:
        cut = task if len(task) <= room else f"{task[: room - 1]}…"
        table.add_row(*map(escape, cells), escape(cut))
    return table


def _row(session: Session) -> tuple[str, ...]:
    return (
        str(session.id),
        "" if session.created_at is None else f"{session.created_at:%Y-%m-%d %H:%M}",
        session.status or "",
        session.review_status or "",
        "" if session.score is None else f"{session.score:.2f}",
        " ".join(session.task.split()),
    )
