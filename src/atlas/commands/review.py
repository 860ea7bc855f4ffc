"""``atlas review``: look at sessions, and say which of them may be used."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import typer
from rich.table import Table

from atlas.commands.selection import Selection, said_left_out
from atlas.commands.terminal import console
from atlas.errors import AtlasError
from atlas.session import Session
from atlas.traces.export import left_out
from atlas.traces.open_database import database
from atlas.traces.postgres import PostgresTraceStore
from atlas.traces.postgres_connection import describe
from atlas.traces.postgres_review import ReviewStatus, set_review_status
from atlas.traces.store import SessionQuery


def show(database_url: str | None, selection: Selection, *, limit: int, offset: int = 0) -> None:
    """Run ``atlas review list``."""
    query = selection.query(limit=limit, offset=offset, events=False)
    with database(database_url) as db_url:
        store = PostgresTraceStore(db_url)
        sessions, found = list(store.sessions(query)), store.count(query)
        total = store.count(SessionQuery())
        taken = {} if found == total else left_out(store, query)
        place = describe(db_url)
    table = Table(box=None, pad_edge=False)
    for column in ("id", "created", "status", "review", "score"):
        table.add_column(column, no_wrap=True, justify="right" if column == "score" else "left")
    table.add_column("task", no_wrap=True, overflow="ellipsis", ratio=1)
    for session in sessions:
        table.add_row(*_row(session))
    if sessions:
        console.print(table)
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


def _row(session: Session) -> tuple[str, ...]:
    created = "" if session.created_at is None else f"{session.created_at:%Y-%m-%d %H:%M}"
    score = "" if session.score is None else f"{session.score:.2f}"
    texts = (session.status or "", session.review_status or "", score, session.task)
    # Brackets would be markup, and a line break another row.
    return (
        str(session.id),
        created,
        *(" ".join(text.split()).replace("[", r"\[") for text in texts),
    )
