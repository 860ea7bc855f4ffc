"""``atlas review``: look at sessions, and say which of them may be used."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Final

import typer

from atlas.cli.options import Json, command_app, spread
from atlas.cli.terminal import say, show_json, show_table, width
from atlas.cli.traces.selection import (
    Database,
    Offset,
    SelectionOptions,
    Status,
    by_id,
    said_left_out,
)
from atlas.errors import AtlasError, printable
from atlas.session import Session
from atlas.traces.codec import session_to_record
from atlas.traces.export import left_out
from atlas.traces.store import SessionQuery

if TYPE_CHECKING:
    from atlas.traces.postgres.reading import PostgresTraceStore
    from atlas.traces.postgres.review import ReviewStatus

SHORTEST_TASK: Final = 20
"""Characters of a task that are shown however narrow the terminal is."""


Shown = Annotated[int, typer.Option(help="At most so many, newest first", min=1)]

app = command_app(
    no_args_is_help=True, help="List recorded sessions, and say which of them may be used."
)


@app.command("list")
@spread
def list_sessions(
    selection: SelectionOptions,
    database_url: Database = None,
    limit: Shown = 20,
    offset: Offset = 0,
    as_json: Json = False,
) -> None:
    """Show sessions with their status, review status and score."""
    query = selection.query(limit=limit, offset=offset, events=False)

    from atlas.traces.open_database import database
    from atlas.traces.postgres.connection import describe
    from atlas.traces.postgres.reading import PostgresTraceStore

    with database(database_url) as db_url:
        store = PostgresTraceStore(db_url)
        sessions, found = list(store.sessions(query)), store.count(query)
        total = store.count(SessionQuery())
        taken = {} if found == total else left_out(store, query)
        place = describe(db_url)
    if as_json:
        records = [session_to_record(session) for session in sessions]
        show_json({"sessions": records, "matching": found, "total": total, "left_out": taken})
        return
    if sessions:
        _show(sessions)
    more = found - offset - len(sessions)
    says = f"{len(sessions)} of {found} that match" + (f", {more} more" if more > 0 else "")
    reasons = f"; left out: {said_left_out(taken)}" if taken else ""
    say(f"{says}; {total} in {place}{reasons}")


@app.command("show")
def show(
    session_id: Annotated[int, typer.Argument(help="As atlas review list shows it")],
    database_url: Database = None,
    as_json: Json = False,
) -> None:
    """Show one session whole: task, plan, steps with guidance, answer, reward."""
    from atlas.traces.open_database import database
    from atlas.traces.postgres.reading import PostgresTraceStore

    with database(database_url) as db_url:
        (session,) = by_id(PostgresTraceStore(db_url), [session_id], events=as_json)
    record = session_to_record(session)
    if as_json:
        show_json(record)
        return
    for name, value in record.items():
        if value not in (None, "", [], {}):
            say("" if isinstance(value, list | dict) else f"  {value}", lead=name, bold=True)
            if isinstance(value, list | dict):
                _outline(value, "  ")


def _outline(value: object, indent: str) -> None:
    """Print nested values, a line each."""
    pairs = value.items() if isinstance(value, dict) else ((n, v) for n, v in enumerate(value, 1))  # type: ignore[arg-type]
    for name, one in pairs:
        if isinstance(one, list | dict):
            if one:
                say(f"{indent}{name}")
                _outline(one, indent + "  ")
        elif one not in (None, ""):
            said = str(one).replace("\n", f"\n{indent}  ")
            say(f"{indent}{name}  {said}")


@app.command("sessions", hidden=True)
def sdk_sessions(
    database_url: Database = None, status: Status = None, limit: Shown = 20, offset: Offset = 0
) -> None:
    """Do what the Atlas SDK calls ``review sessions``: its --status is a review status."""
    list_sessions(review_status=status, database_url=database_url, limit=limit, offset=offset)


def _decision(command: str, status: ReviewStatus, help_text: str) -> None:
    """Add the command that gives sessions this review status."""

    @app.command(command, help=help_text)
    @spread
    def decide(
        selection: SelectionOptions,
        ids: Annotated[
            list[int] | None, typer.Argument(help="Sessions, as atlas review list shows them")
        ] = None,
        database_url: Database = None,
        notes: Annotated[
            str | None, typer.Option("--notes", "--note", help="The reviewer's reason")
        ] = None,
        yes: Annotated[
            bool, typer.Option("--yes", help="Change what the filters choose without asking")
        ] = False,
    ) -> None:
        if bool(ids) is not selection.is_empty:
            raise AtlasError(
                "name sessions by their ids or by filters, as in: atlas review approve 3 4, or: "
                "atlas review approve --min-reward 0.9 --yes"
            )
        _decide(database_url, ids or [], selection, status, notes=notes, yes=yes)


_decision("approve", "approved", "Mark sessions as good to learn from.")
_decision("quarantine", "quarantined", "Mark sessions as not to be used.")
_decision("reset", "pending", "Take the review of sessions back.")


def _decide(
    database_url: str | None,
    ids: Sequence[int],
    selection: SelectionOptions,
    status: ReviewStatus,
    *,
    notes: str | None,
    yes: bool,
) -> None:
    """Give the sessions named, or those that pass, a review status."""
    from atlas.traces.open_database import database
    from atlas.traces.postgres.reading import PostgresTraceStore
    from atlas.traces.postgres.review import set_review_status

    with database(database_url) as db_url:
        if not ids:
            passing = _passing(PostgresTraceStore(db_url), selection, status)
            if not passing:
                say(f"Nothing to change: all that pass are {status} already.")
                return
            were = ", ".join(f"{n} {name}" for name, n in Counter(passing.values()).items())
            _confirm(f"{len(passing)} session(s) become {status}; they are: {were}", yes=yes)
            ids = list(passing)
        changed = set_review_status(db_url, ids, status, notes)
    unchanged = len(set(ids)) - len(changed)
    rest = f"; {unchanged} had it before" if unchanged else ""
    say(f"{len(changed)} session(s) are {status} now{rest}")


def _passing(
    store: PostgresTraceStore, selection: SelectionOptions, status: ReviewStatus
) -> dict[int, str]:
    """Return the ids of sessions that pass and would change, with their review status now."""
    query = replace(selection.query(events=False), include_learning_data=False)
    return {
        session.id: session.review_status or "none"
        for session in store.sessions(query)
        if session.id is not None and session.review_status != status
    }


def _confirm(what: str, *, yes: bool) -> None:
    say(what)
    if yes:
        return
    if not sys.stdin.isatty():
        raise AtlasError("nothing was changed; --yes does it without asking")
    if not typer.confirm("Do it?"):
        raise AtlasError("nothing was changed")


def _show(sessions: Sequence[Session]) -> None:
    """Print a row a session, its task cut so that the row fits; a narrow one without its time."""
    titles = ("id", "created", "status", "review", "score", "task")
    rows = [titles, *map(_row, sessions)]
    room = _room(rows)
    if room < SHORTEST_TASK:
        rows = [(row[0], *row[2:]) for row in rows]
        room = max(SHORTEST_TASK, _room(rows))
    cut = [(*cells, task if len(task) <= room else f"{task[: room - 1]}…") for *cells, task in rows]
    show_table(None, cut[0], cut[1:], right=("id", "score"), box=None, pad_edge=False)


def _room(rows: Sequence[Sequence[str]]) -> int:
    """Return how many characters the other columns leave to the last one."""
    return width() - sum(max(map(len, cells)) + 2 for cells in list(zip(*rows, strict=True))[:-1])


def _row(session: Session) -> tuple[str, ...]:
    return (
        str(session.id),
        "" if session.created_at is None else f"{session.created_at:%Y-%m-%d %H:%M}",
        session.status or "",
        session.review_status or "",
        "" if session.score is None else f"{session.score:.2f}",
        " ".join(printable(session.task).split()),
    )
