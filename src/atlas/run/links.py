"""Links with the guides' names that point into a run directory.

Input: names and what they point to. Output: relative links, each replaced in one move. What is
there under such a name and isn't a link is never touched.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from atlas.errors import AtlasError
from atlas.run.files import place_errors


def publish(run: Path, place: Path, names: Mapping[str, str]) -> None:
    """Link ``place/name`` to ``run/target`` for every name; older links are replaced.

    Raises:
        AtlasError: Nothing can be written there.
    """
    for name, target in names.items():
        link = place / name
        with place_errors(link):
            link.parent.mkdir(parents=True, exist_ok=True)
        temporary = link.with_name(f".{link.name}.new")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(os.path.relpath((run / target).absolute(), link.parent.resolve()))
        temporary.replace(link)


def refuse_foreign(place: Path, names: Mapping[str, str], key: str) -> None:
    """Check that the links can be made, before any work is done.

    Args:
        place: The folder of the links.
        key: The configuration key that chooses the folder, for the message.

    Raises:
        AtlasError: Something else has one of the names, or a folder can't be written.
    """
    for folder in {(place / name).parent for name in names}:
        blocked = next((p for p in (folder, *folder.parents) if p.exists()), folder)
        if not blocked.is_dir() or not os.access(blocked, os.W_OK):
            raise AtlasError(
                f"{blocked} is a file or can't be written, but {key} {place} needs it; "
                f"move it away, or set {key} to another folder"
            )
    for name in names:
        link = place / name
        if link.exists() and not link.is_symlink():
            raise AtlasError(
                f"{link} is there and isn't a link that Atlas made; move it away, or set "
                f"{key} to another folder"
            )
