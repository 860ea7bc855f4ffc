"""What a run or a result was made from, by digests: ``inputs.json`` beside it.

Input: name -> digest of what is there now. Output: the names that have changed. Settings name files
and folders; what lies there may be replaced, by a link that points elsewhere for one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from atlas.errors import AtlasError
from atlas.json_file import read_json
from atlas.run.files import write_atomic

FILE = "inputs.json"


def digest(files: Iterable[Path]) -> str:
    """Return the SHA-256 over the contents of files, in their order."""
    whole = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            whole.update(hashlib.file_digest(content, "sha256").digest())
    return whole.hexdigest()


def write_inputs(folder: Path, now: Mapping[str, str]) -> None:
    """Write the digests into a folder.

    Raises:
        AtlasError: The disk is full.
    """
    write_atomic(folder / FILE, json.dumps(dict(now), indent=1) + "\n")


def changed_inputs(folder: Path, now: Mapping[str, str]) -> list[str] | None:
    """Return the names whose digest isn't that of now; None where no digests were kept.

    Raises:
        AtlasError: The file can't be read.
    """
    path = folder / FILE
    if not path.exists():
        return None
    before = read_json(path)
    return sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))


def keep_inputs(folder: Path, now: Mapping[str, str], named: Mapping[str, object]) -> None:
    """Write the digests of a run; where some are kept already, insist that they are the same.

    Args:
        folder: The run directory.
        now: Key -> digest of what it names.
        named: Key -> what it names, for the message.

    Raises:
        AtlasError: Something has changed; it is named.
    """
    changed = changed_inputs(folder, now)
    if changed is None:
        write_inputs(folder, now)
    elif changed:
        said = " and ".join(f"{key} ({named.get(key)})" for key in changed)
        raise AtlasError(
            f"{said} changed since {folder} was begun; bring back what it was, give another "
            "output_dir, or start over with --fresh"
        )
