"""``atlas lineage``: which sessions a model was trained on, and what has become of them."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from atlas.cli.options import Json, command_app
from atlas.cli.terminal import say, show_json
from atlas.cli.traces.selection import Database
from atlas.errors import AtlasError
from atlas.run.lineage import FILE, Lineage, read_lineage

SHOWN: Final = 10
"""Ids on a line that doesn't show all of them."""


app = command_app()


@app.command()
def lineage(
    run: Annotated[Path, typer.Argument(help="A run directory, or a model folder of one")],
    ids: Annotated[bool, typer.Option("--ids", help="Print every id, not the first few")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Say which are missing or quarantined now")
    ] = False,
    database_url: Database = None,
    as_json: Json = False,
) -> None:
    """Say which sessions a model was trained on."""
    found = find_lineages(run)
    if as_json:
        if check:
            raise AtlasError(
                "--json prints what was trained on, --check what became of it; give one"
            )
        show_json({str(place): dataclasses.asdict(one) for place, one in found.items()})
        return
    for place, one in found.items():
        _show(place, one, all_ids=ids)
    if not check:
        return

    from atlas.traces.open_database import database
    from atlas.traces.postgres.connection import describe
    from atlas.traces.postgres.review import review_statuses

    names = {name for one in found.values() for name in (*one.train, *one.eval)}
    with database(database_url or own_database(run)) as db_url:
        statuses = review_statuses(db_url, [int(name) for name in names if name.isdecimal()])
        say(f"checked against {describe(db_url)}:")
    if _found_fault(names, statuses, all_ids=ids):
        sys.exit(1)


def find_lineages(path: Path) -> dict[Path, Lineage]:
    """Return the lineages that a path means: its own, its stages', or those of the run around it.

    Raises:
        AtlasError: There is none.
    """
    if not path.exists():
        raise AtlasError(f"{path} isn't there; name a run directory or a model folder of one")
    if path.is_file():
        return {path: read_lineage(path)}
    places = [path] if (path / FILE).is_file() else []
    places = places or sorted(file.parent for file in path.glob(f"*/{FILE}"))
    # A model folder lies in its run directory, a checkpoint one folder deeper.
    places = places or [p for p in path.resolve().parents[:2] if (p / FILE).is_file()][:1]
    if not places:
        raise AtlasError(
            f"{path} doesn't say what it was trained on: there is no {FILE} in it or in the run "
            "that it belongs to"
        )
    return {place: read_lineage(place) for place in places}


def own_database(path: Path) -> Path | None:
    """Return the data folder of the run that a path belongs to; None where it keeps none."""
    around = (path.absolute(), *path.absolute().parents[:1], *path.resolve().parents[:3])
    return next((p / "pg" for p in around if (p / "pg" / "PG_VERSION").exists()), None)


def _show(place: Path, lineage: Lineage, *, all_ids: bool) -> None:
    """Print one lineage."""
    say(lead=str(place), bold=True)
    _line("source", lineage.source)
    if lineage.filters:
        _line("filters", ", ".join(_words(lineage.filters)))
    if lineage.left_out:
        _line("left out", ", ".join(f"{n} for {why}" for why, n in lineage.left_out.items()))
    for side, ids in (("train", lineage.train), ("eval", lineage.eval)):
        samples = lineage.num_samples.get(side, 0)
        _line(side, f"{len(ids)} sessions, {samples} samples")
        if ids:
            _line("", _ids(ids, all_ids=all_ids))


def _found_fault(ids: set[str], statuses: Mapping[int, str | None], *, all_ids: bool) -> bool:
    known = sorted((name for name in ids if name.isdecimal()), key=int)
    missing = [name for name in known if int(name) not in statuses]
    quarantined = [name for name in known if statuses.get(int(name)) == "quarantined"]
    for title, names in (("missing", missing), ("quarantined", quarantined)):
        listed = f": {_ids(names, all_ids=all_ids)}" if names else ""
        _line(title, f"{len(names)} of {len(ids)}{listed}")
    if len(known) < len(ids):
        _line("unknown", f"{len(ids) - len(known)} that no database gave a number")
    return bool(missing or quarantined)


def _words(filters: Mapping[str, Any]) -> Iterator[str]:
    for name, value in filters.items():
        is_list = isinstance(value, Sequence) and not isinstance(value, str)
        yield f"{name} {'|'.join(map(str, value)) if is_list else value}"


def _ids(ids: Sequence[str], *, all_ids: bool) -> str:
    shown = ids if all_ids else ids[:SHOWN]
    rest = len(ids) - len(shown)
    return " ".join(shown) + (f" and {rest} more (--ids)" if rest else "")


def _line(title: str, text: str) -> None:
    say(f"  {title + ':' if title else '':<13}{text}")
