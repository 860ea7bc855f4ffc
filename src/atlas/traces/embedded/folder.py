"""What may lie in the data folder of an embedded server.

Stage: under ``server``, before a start. A folder may be missing or empty, or hold PostgreSQL data
of the right version that asks for nothing but to be served.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from atlas.errors import AtlasError


def check_kind(folder: Path) -> None:
    """Refuse a folder that is something else."""
    try:
        if folder.exists() and not folder.is_dir():
            raise AtlasError(f"{folder} is a file: give a folder for the PostgreSQL data")
        is_data = (folder / "PG_VERSION").exists()
        if not is_data and folder.is_dir() and any(folder.iterdir()):
            raise AtlasError(
                f"{folder} is not empty and no PostgreSQL data folder: give another one"
            )
    except OSError as error:
        raise cannot_use(folder, error) from error


def check_version(folder: Path, major: int) -> None:
    """Refuse data that another version of PostgreSQL made."""
    try:
        found = (folder / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        return
    except OSError as error:
        raise cannot_use(folder, error) from error
    if found != str(major):
        raise AtlasError(
            f"{folder} was made by PostgreSQL {found}, the embedded one is {major}: serve it with "
            f"PostgreSQL {found} and give its db_url, or give another folder"
        )


def refuse_what_insists(folder: Path) -> None:
    """Refuse data that would have a server do more than serve it; such data was never made here.

    Raises:
        AtlasError: It has links out of the folder, settings that nothing overrides, or waits for
            another server.
    """

    def fail(error: OSError) -> None:
        raise cannot_use(folder, error) from error

    for place, folders, files in os.walk(folder, onerror=fail):
        for path in (Path(place, name) for name in (*folders, *files)):
            mode = path.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISSOCK(mode)):
                raise AtlasError(
                    f"{path} is a link or a device, which an embedded database has not: "
                    "put what it points to there, or serve the data yourself and give "
                    "its db_url"
                )
    settings = folder / "postgresql.auto.conf"
    lines = settings.read_bytes().split(b"\n") if settings.exists() else []
    if any(line.strip(b" \t\r") and not line.lstrip(b" \t\r").startswith(b"#") for line in lines):
        raise AtlasError(
            f"{settings} holds settings, and an embedded database takes none: empty "
            "the file, or serve the data yourself and give its db_url"
        )
    for name in ("standby.signal", "recovery.signal"):
        if (folder / name).exists():
            raise AtlasError(
                f"{folder / name} is there: the data is a copy that waits for another "
                "server; remove the file, or give the db_url of a server"
            )


def cannot_use(folder: Path, error: OSError) -> AtlasError:
    """Return the error of a folder that the system refuses."""
    reason = error.strerror or str(error)
    place = error.filename or folder
    return AtlasError(f"can't keep a PostgreSQL database in {folder}: {reason}: {place}")
