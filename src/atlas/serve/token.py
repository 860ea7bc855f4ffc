"""The secret that opens a server's control endpoints: made for one server, kept in one file.

The file lies in a folder that only this user can read, under the server's port, so that a trainer
on the same machine finds it. The token is never on a command line, in a log or in a run directory.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from atlas.config.address import parse_address
from atlas.errors import AtlasError
from atlas.serve.inside.gate import TOKEN_FILE


def runtime_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return this user's folder for tokens and logs of servers, made if it is missing.

    Raises:
        AtlasError: It belongs to somebody else, or others can read it.
    """
    parent = environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    folder = Path(parent) / f"atlas-serve-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
    if found.st_uid != os.getuid() or not private:
        raise AtlasError(
            f"{folder} must be your own folder with mode 0700; remove it and try again"
        )
    return folder


def token_path(port: int, environ: Mapping[str, str] = os.environ) -> Path:
    """Return where the token of the server on this port lies."""
    return runtime_folder(environ) / f"{port}.token"


def new_token() -> str:
    """Return a token that nobody can guess."""
    return secrets.token_urlsafe(32)


def write_token(port: int, token: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Write the token of the server on this port; return the file, which its owner alone reads."""
    path = token_path(port, environ)
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(token)
    return path


def remove_token(path: Path, token: str) -> None:
    """Remove the file if it holds this token, and not that of a later server on the same port."""
    with contextlib.suppress(OSError):
        if path.read_text(encoding="ascii") == token:
            path.unlink()


def find_token(url: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return the token of the server at this address.

    Args:
        url: Such as ``http://127.0.0.1:8000``.
        environ: ``ATLAS_CONTROL_TOKEN_FILE`` names the file, where it isn't in its usual place.

    Raises:
        AtlasError: There is no such file, or this is no address.
    """
    named = environ.get(TOKEN_FILE)
    path = Path(named) if named else token_path(parse_address(url).port or 80, environ)
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        raise AtlasError(
            f"there is no control token for the server at {url} ({path}): start it with atlas "
            f"serve on this machine, or set {TOKEN_FILE} to a file with its token"
        ) from None
