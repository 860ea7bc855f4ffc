"""The prompts of a run: kept in its directory, and in every model folder that it writes.

A run that goes on reads them from there, whatever has become of the place that they came from.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from atlas.errors import AtlasError
from atlas.prompts import FOLDER, Prompts
from atlas.prompts.folder import AUTO, named_prompts, read_prompts
from atlas.run.files import write_atomic
from atlas.run.lineage import lineage_files


def check_prompts(choice: str, run_dir: str | Path) -> None:
    """Check what the key ``prompts`` says, before anything heavy is loaded.

    Args:
        choice: Its value.
        run_dir: Of the run; one that was begun has prompts of its own.

    Raises:
        AtlasError: It names a folder that isn't there, or isn't one of prompts.
    """
    if choice != AUTO and not (Path(run_dir) / FOLDER).is_dir():
        named_prompts(choice)


def run_prompts(
    kept: Path, choose: Callable[[], Prompts], *, say: Callable[[str], None] = lambda line: None
) -> Prompts:
    """Return the prompts that a run was begun with; those of now where it is new.

    Args:
        kept: Folder in the run directory, there if it was begun.
        choose: Returns the prompts of now.
        say: Told where the two differ.

    Raises:
        AtlasError: They can't be read.
    """
    if not kept.is_dir():
        return choose()
    prompts = read_prompts(kept)
    try:
        changed = choose() != prompts
    except AtlasError:
        changed = True
    if changed:
        say(f"prompts: those in {kept}, with which the run was begun; they have changed elsewhere")
    return prompts


def keep_prompts(kept: Path, prompts: Prompts) -> None:
    """Write the prompts of a run into a folder of its directory, whole or not at all.

    Raises:
        AtlasError: The disk is full.
    """
    if kept.is_dir():
        return
    partial = kept.with_name(f".{kept.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for name, text in prompts.texts.items():
        write_atomic(partial / name, text)
    partial.rename(kept)


def model_files(run_dir: Path) -> dict[str, str]:
    """Return what a model folder keeps of its run, by path: lineage and prompts."""
    kept = run_dir / FOLDER
    prompts = read_prompts(kept).files() if kept.is_dir() else {}
    return {**lineage_files(run_dir), **prompts}
