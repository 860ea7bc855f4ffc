"""What a user calls a database -> a ``db_url`` that can be opened.

Stage: before every command that reads or writes sessions. A URL is taken as it stands. The data
folder of an embedded server, or a run directory with one in it, is served while the block runs.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from atlas.errors import AtlasError
from atlas.traces.embedded.server import EmbeddedPostgres
from atlas.traces.postgres.connection import DEFAULT_DB_URL, connect, describe, unreadable

ENVIRONMENT: Final = ("STORAGE__DATABASE_URL", "DATABASE_URL")
"""Where a database is named that no command line names, first found; the Atlas SDK's variables."""

_log = logging.getLogger(__name__)

_EMBEDDED: Final = "embedded:"
_URL = re.compile(r"^[a-z][a-z0-9+]*://|^\s*[a-z_]+\s*=", re.IGNORECASE)
"""A URL, or the words ``host=… dbname=…`` that PostgreSQL's own tools take."""
_SECRET = re.compile(r":.*@|password", re.IGNORECASE)
"""Of a URL that is misspelt, so that it isn't known as one, and must not be repeated either."""


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
        name = next((name for name in ENVIRONMENT if os.environ.get(name)), None)
        place = os.environ[name] if name else DEFAULT_DB_URL
        if name is None or _URL.match(place):
            _check_unnamed(place, name, option)
    if isinstance(place, str) and not place.startswith(_EMBEDDED) and _URL.match(place):
        describe(place)
        yield place
        return
    folder = Path(str(place).removeprefix(_EMBEDDED)).expanduser()
    if _SECRET.search(str(place)) and not folder.is_dir():
        raise unreadable()
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


def _check_unnamed(db_url: str, variable: str | None, option: str) -> None:
    """Check that a database answers which the user hasn't named here, and say which one it is."""
    try:
        connect(db_url).close()
    except AtlasError as error:
        whose = f"what {variable} in the environment names" if variable else "the default"
        raise AtlasError(
            f"no database was named, and {whose} doesn't answer ({error}); give {option} "
            f"with a URL or a run directory, as in {option} runs/quickstart"
        ) from error
    if variable:
        # It may be another program's, so it isn't used without a word.
        _log.warning("database: %s, as the environment's %s says", describe(db_url), variable)
