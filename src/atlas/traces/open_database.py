"""What a user calls a database -> a ``db_url`` that can be opened.

Stage: before every command that reads or writes sessions. A URL is taken as it stands. The data
folder of an embedded server, or a run directory with one in it, is served while the block runs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from atlas.errors import AtlasError
from atlas.traces.embedded.server import EmbeddedPostgres
from atlas.traces.postgres.connection import DEFAULT_DB_URL, connect, describe

ENVIRONMENT: Final = ("STORAGE__DATABASE_URL", "DATABASE_URL")
"""Where a database is named that no command line names, first found; the Atlas SDK's variables."""

_EMBEDDED: Final = "embedded:"
_URL = re.compile(r"^[a-z][a-z0-9+]*://|^\s*[a-z_]+\s*=", re.IGNORECASE)
"""A URL, or the words ``host=… dbname=…`` that PostgreSQL's own tools take."""


@contextmanager
def database(
    place: str | Path | None = None, *, create: bool = False, option: str = "--database-url"
) -> Iterator[str]:
    """Give the ``db_url`` of a database while the block runs.

    Args:
        place: ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE``; or a run directory, or the data
            folder of an embedded server, with or without ``embedded:`` before it. None: what the
            environment names (`ENVIRONMENT`), else the guide's database on this machine.
        create: Make the data folder where it is missing, instead of refusing.
        option: What names a database in the command that asks, for its messages.

    Raises:
        AtlasError: There is no such folder, it holds no database, or nobody answers there.
    """
    if place is None:
        place = next((url for name in ENVIRONMENT if (url := os.environ.get(name))), None)
    if place is None:
        _check_default(option)
        place = DEFAULT_DB_URL
    if isinstance(place, str) and not place.startswith(_EMBEDDED) and _URL.match(place):
        describe(place)
        yield place
        return
    folder = Path(str(place).removeprefix(_EMBEDDED)).expanduser()
    with EmbeddedPostgres.start(folder if create else data_folder(folder)) as server:
        yield server.db_url


def data_folder(folder: Path) -> Path:
    """Return the PostgreSQL data folder that ``folder`` is, or, as a run directory, holds.

    Raises:
        AtlasError: There is none.
    """
    try:
        found = next((f for f in (folder, folder / "pg") if (f / "PG_VERSION").exists()), None)
        is_there = folder.exists()
    except OSError as error:
        raise AtlasError(f"{folder} can't be read: {error.strerror}") from error
    if found is None:
        what = "holds no PostgreSQL data" if is_there else "isn't there"
        raise AtlasError(
            f"database {folder} {what}: give postgresql://USER:PASSWORD@HOST:PORT/DATABASE, or a "
            "run directory with a database in it, as in runs/quickstart"
        )
    return found


def _check_default(option: str) -> None:
    try:
        connect(DEFAULT_DB_URL).close()
    except AtlasError as error:
        raise AtlasError(
            f"no database was named, and the default doesn't answer ({error}); give {option} "
            f"with a URL or a run directory, as in {option} runs/quickstart"
        ) from error
