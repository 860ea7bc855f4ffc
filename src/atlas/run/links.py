"""Links with the guides' names that point into a run directory.

Input: names and what they point to. Output: relative links, each replaced in one move. What is
there under such a name and isn't a link is never touched, and a try-out doesn't take the place of
a longer training.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from atlas.errors import AtlasError
from atlas.json_file import parse_json
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


def offer(
    run: Path, place: Path, names: Mapping[str, str], *, model: str, meant: bool
) -> tuple[bool, str]:
    """Link what a run made, unless that would put a shorter run in the place of a longer one.

    Args:
        run: The run directory.
        place: The folder of the links.
        names: As for `publish`.
        model: The one of them that decides: it points to a model in the directory of its training.
        meant: The user named the place for this run, so that nothing there is spared.

    Returns:
        Whether the links are this run's now, and the line that says what they are.

    Raises:
        AtlasError: Nothing can be written there.
    """
    link, new = place / model, run / names[model]
    old = Path(os.path.relpath(link.resolve())) if link.exists() else None
    if old is not None and old.resolve() == new.resolve():
        old = None
    if old is not None and not meant:
        before, now = _steps(old.parent), _steps(new.parent)
        if before > now:
            return False, (
                f"{link} stays {old}, of {before} steps where this run has {now}; "
                f"results_dir={place} makes it this one"
            )
    publish(run, place, names)
    return True, f"{link} is {new} now" + (f", no longer {old}" if old is not None else "")


def _steps(training: Path) -> int:
    """Return the last step that a training logged; 0 where it can't be known."""
    with contextlib.suppress(OSError, AtlasError):
        lines = (training / "metrics.jsonl").read_bytes().splitlines()
        step = parse_json(lines[-1], "metrics").get("step") if lines else 0
        return step if isinstance(step, int) else 0
    return 0


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
