"""``atlas export``: the sessions of a database in a JSONL file, and an account of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from atlas.cli.selection import Selection, by_id, said_left_out
from atlas.cli.terminal import StageBar, console, display, stoppable
from atlas.errors import AtlasError
from atlas.run.progress import Silent
from atlas.session import Session
from atlas.traces.export import Exported, export_sessions, left_out
from atlas.traces.open_database import database
from atlas.traces.postgres.connection import describe
from atlas.traces.postgres.reading import PostgresTraceStore
from atlas.traces.store import DEFAULT_PAGE_SIZE, SessionQuery


def run(
    database_url: str | None,
    output: Path,
    selection: Selection,
    *,
    session_ids: Sequence[int] = (),
    limit: int | None = None,
    offset: int = 0,
    events: bool = True,
    page_size: int = DEFAULT_PAGE_SIZE,
    quiet: bool = False,
) -> None:
    """Run the command."""
    query = selection.query(limit=limit, offset=offset, events=events)
    if session_ids and not (selection.is_empty and limit is None and not offset):
        raise AtlasError("--session-id chooses alone; leave the filters, --limit and --offset out")
    if output.is_dir():
        raise AtlasError(f"{output} is a folder; give a file, as in --output traces.jsonl")
    with database(database_url) as db_url:
        store = PostgresTraceStore(db_url, page_size=page_size)
        place, total = describe(db_url), store.count(SessionQuery())
        if session_ids:
            taken, found = {}, len(set(session_ids))
            chosen, wanted = by_id(store, session_ids, events=events), found
        else:
            found = store.count(query)
            taken = {} if found == total else left_out(store, query)
            if found <= offset:
                raise AtlasError(_nothing(place, total, taken, found))
            wanted = found - offset if limit is None else min(found - offset, limit)
            chosen = store.sessions(query)
        exported = _write(chosen, output, wanted, quiet=quiet)
    if quiet:
        return
    console.print(f"database:  {place}", markup=False, soft_wrap=True)
    console.print(f"sessions:  {total} there, {found} match, {exported.num_sessions} written")
    rest = found - exported.num_sessions
    reasons = [said_left_out(taken)] * bool(taken) + [f"{rest} by --limit and --offset"] * bool(
        rest
    )
    if reasons:
        console.print(f"left out:  {', '.join(reasons)}", soft_wrap=True)
    show(exported)


def note_ignored(names: Sequence[str]) -> None:
    """Name the flags that are taken and do nothing; what the file lacks must be known."""
    if names:
        sys.stderr.write(
            f"atlas: {', '.join(names)} has no meaning here: every event is written, and review "
            "statuses are chosen by --include-status alone\n"
        )


def _write(sessions: Iterable[Session], output: Path, wanted: int, *, quiet: bool) -> Exported:
    with stoppable("Nothing was written.") as stop, display() as bars:
        bar = Silent() if quiet else StageBar(bars, "export")
        bar.begin(wanted)
        return export_sessions(sessions, output, progress=bar, stop=stop)


def show(exported: Exported) -> None:
    """Print what is in the file."""
    console.print(f"status:    {_counts(exported.by_status)}", markup=False)
    console.print(f"review:    {_counts(exported.by_review_status)}", markup=False)
    if exported.by_review_status.get("quarantined"):
        console.print(
            "           quarantined sessions are among them; --review-status approved "
            "--review-status pending leaves them out",
            soft_wrap=True,
        )
    was = ", in place of the one that was there" if exported.replaced else ""
    size = f"{exported.num_bytes:,} bytes"
    console.print(f"file:      {exported.path}, {size}{was}", markup=False, soft_wrap=True)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def _nothing(place: str, total: int, taken: Mapping[str, int], found: int) -> str:
    """Return why there is nothing to write."""
    if not total:
        return f"{place} holds no session; nothing was written"
    if found:
        return f"--offset goes past the {found} sessions that match; nothing was written"
    return (
        f"none of the {total} sessions of {place} passes: left out {said_left_out(taken)}; "
        "nothing was written"
    )
