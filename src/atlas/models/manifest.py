"""The list of a folder's files with their SHA-256, which says whether the folder is as it was made.

``manifest.json`` is written last: ``{"config.json": "9f86d0…", …}``. A folder without it comes from
elsewhere, and nothing is known about it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath

from atlas.errors import AtlasError
from atlas.json_file import parse_json

MANIFEST = "manifest.json"
STATE = "state.pt"
OTHER_STATES = "state-*.pt"
"""What further processes wrote of the state (parts.py)."""
_WEIGHTS = (".safetensors", ".bin", ".pkl", ".pt")
_HEX = frozenset("0123456789abcdef")


def is_whole(folder: Path) -> bool:
    """Tell whether a folder has a manifest of ours and every file in it is as it says."""
    try:
        entries = _entries(folder)
        return bool(entries) and not any(
            _differs(folder, name, digest) for name, digest in (entries or {}).items()
        )
    except (OSError, ValueError, RecursionError):
        return False


def is_state(name: str) -> bool:
    """Tell whether a file of a checkpoint is of the training's state, or of the model."""
    return name == STATE or PurePosixPath(name).match(OTHER_STATES)


def refuse_damaged(folder: Path, *, weights: bool = True) -> None:
    """Check a folder against its manifest, where it has one of ours. Each file is read once.

    The state of a training isn't looked at: who goes on from it has asked `is_whole`.

    Args:
        weights: Look at large files too.

    Raises:
        AtlasError: A file has changed or is gone, or the manifest itself can't be read.
    """
    if not os.path.lexists(folder / MANIFEST):
        return
    try:
        entries = _entries(folder) or {}
        wrong = [
            name
            for name, digest in entries.items()
            if not is_state(name)
            # Of weights that are there twice, in two formats, one may go.
            and (not name.endswith(_WEIGHTS) or (weights and (folder / name).exists()))
            and _differs(folder, name, digest, known=True)
        ]
    except (OSError, ValueError, RecursionError) as error:
        raise AtlasError(
            f"{folder / MANIFEST} can't be read, so nothing says whether the folder is whole; copy "
            "the folder again"
        ) from error
    if wrong:
        what = "has changed" if (folder / wrong[0]).exists() else "is gone"
        raise AtlasError(
            f"{folder / wrong[0]} {what} since {MANIFEST} beside it was written; copy the folder "
            f"again, or delete {MANIFEST} if that is meant to be so"
        )


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _entries(folder: Path) -> Mapping[str, str] | None:
    """Return name -> SHA-256; None where the file of that name is another program's.

    Raises:
        ValueError: It was ours and is damaged, or names files outside the folder.
    """
    try:
        found = parse_json((folder / MANIFEST).read_bytes(), MANIFEST)
    except AtlasError as error:
        raise ValueError(str(error)) from error
    ours = [isinstance(v, str) and len(v) == 64 and _HEX.issuperset(v) for v in found.values()]
    if not any(ours):
        return None
    paths = [PurePosixPath(name) for name in found]
    if not all(ours) or any(path.is_absolute() or ".." in path.parts for path in paths):
        raise ValueError("no list of files")
    return found


def _differs(folder: Path, name: str, digest: str, *, known: bool = False) -> bool:
    path = folder / name
    if not path.is_file():  # nor a device, which could be read for ever
        return True
    if not known:
        return sha256(path) != digest
    about = path.stat()
    return _known_sha256(path, about.st_size, about.st_mtime_ns, about.st_ctime_ns) != digest


@lru_cache(maxsize=1024)
def _known_sha256(path: Path, *about: int) -> str:
    """Return the SHA-256 of a file, computed once as long as ``about`` it nothing changes."""
    return sha256(path)
