"""``atlas export``: the sessions of a database in a JSONL file, and an account of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from atlas.cli.options import Json, command_app, spread
from atlas.cli.terminal import say, show_json, working
from atlas.cli.traces.selection import (
    Database,
    Include,
    Limit,
    Offset,
    SelectionOptions,
    SessionIds,
    by_id,
    said_left_out,
)
from atlas.errors import AtlasError
from atlas.run.progress import Silent
from atlas.session import Session
from atlas.traces.export import ExportSummary, export_sessions, left_out
from atlas.traces.store import DEFAULT_PAGE_SIZE, SessionQuery

Output = Annotated[Path, typer.Option(help="File to write; gzipped where it ends in .gz")]

app = command_app()


@app.command()
@spread
def export(
    output: Output,
    selection: SelectionOptions,
    model: Annotated[
        Path | None, typer.Argument(help="A model folder, with --format; else sessions are written")
    ] = None,
    model_format: Annotated[
        str | None, typer.Option("--format", help="Of a model: safetensors, pkl or gguf")
    ] = None,
    database_url: Database = None,
    include_status: Include = None,
    session_id: SessionIds = None,
    limit: Limit = None,
    offset: Offset = 0,
    no_events: Annotated[bool, typer.Option("--no-events", help="Leave the events out")] = False,
    as_json: Json = False,
) -> None:
    """Write the sessions of a database to a JSONL file, all unless filters say less; or a model."""
    if (model is None) != (model_format is None):
        raise AtlasError("a model needs --format and --format needs a model folder; give both")
    if model is not None and model_format is not None:
        _export_model(model, output, model_format)
        return
    write_sessions(
        database_url,
        output,
        replace(selection, include_status=include_status),
        session_ids=session_id or [],
        limit=limit,
        offset=offset,
        events=not no_events,
        as_json=as_json,
    )


def write_sessions(
    database_url: str | None,
    output: Path,
    selection: SelectionOptions,
    *,
    session_ids: Sequence[int],
    limit: int | None,
    offset: int,
    events: bool = True,
    page_size: int = DEFAULT_PAGE_SIZE,
    quiet: bool = False,
    as_json: bool = False,
) -> None:
    """Write the chosen sessions, and print an account of them."""
    query = selection.query(limit=limit, offset=offset, events=events)
    if session_ids and not (selection.is_empty and limit is None and not offset):
        raise AtlasError("--session-id chooses alone; leave the filters, --limit and --offset out")
    if output.is_dir():
        raise AtlasError(f"{output} is a folder; give a file, as in --output traces.jsonl")

    from atlas.run.files import through_links
    from atlas.traces.open_database import database
    from atlas.traces.postgres.connection import describe
    from atlas.traces.postgres.reading import PostgresTraceStore

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
        exported = _write(chosen, through_links(output), wanted, quiet=quiet or as_json)
    if as_json:
        counts = {"database": place, "total": total, "matching": found, "left_out": taken}
        show_json(counts | dataclasses.asdict(exported))
    if quiet or as_json:
        return
    say(f"database:  {place}")
    say(f"sessions:  {total} there, {found} match, {exported.num_sessions} written")
    reasons = [said_left_out(taken)] if taken else []
    if rest := found - exported.num_sessions:
        reasons.append(f"{rest} by --limit and --offset")
    if reasons:
        say(f"left out:  {', '.join(reasons)}")
    _show(exported)


def _export_model(model: Path, output: Path, name: str) -> None:
    """Write a model in another format, which is kept only where it proves equal."""
    from atlas.models.presence import refuse_missing

    refuse_missing(model)

    from atlas.from_scratch.model.exporting import export_model

    exported = export_model(model, output, name)
    say(
        f"compared:  {exported.answers} greedy answers equal, logits differ by at most "
        f"{exported.largest_difference:.2g}"
    )
    say(f"written:   {exported.path}, {exported.num_bytes:,} bytes")


def _write(sessions: Iterable[Session], output: Path, wanted: int, *, quiet: bool) -> ExportSummary:
    with working("Nothing was written.") as (stop, bar_of):
        bar = Silent() if quiet else bar_of("export")
        bar.begin(wanted)
        return export_sessions(sessions, output, progress=bar, stop=stop)


def _show(exported: ExportSummary) -> None:
    """Print what is in the file."""
    say(f"status:    {_counts(exported.by_status)}")
    say(f"review:    {_counts(exported.by_review_status)}")
    if exported.by_review_status.get("quarantined"):
        say(
            "           quarantined sessions are among them; --review-status approved "
            "--review-status pending leaves them out"
        )
    was = ", in place of the one that was there" if exported.replaced else ""
    say(f"file:      {exported.path}, {exported.num_bytes:,} bytes{was}")


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
