"""The tables of rollouts that a GRPO run keeps, read again: one file a step, a row an episode.

Input: a run directory. Output: rows as plain dicts, whose columns are those that
`atlas.training.rollout_metrics` writes; a table may have more, or lack some that are younger.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from atlas.errors import AtlasError
from atlas.run.run_dir import RunDir

TOKENS: Final = "tokens"
"""Column of what the update learned from, by far the heaviest one."""
_NAME = re.compile(r"step_(\d+)\.parquet")


def rollouts_run(path: Path | str) -> RunDir:
    """Return the GRPO run in a directory: itself, or the stage of a quickstart.

    Raises:
        AtlasError: There is none.
    """
    run = RunDir.open(path)
    if run.kind != "grpo" and (run.path / "grpo" / "run.json").is_file():
        run = RunDir.open(run.path / "grpo")
    if run.kind != "grpo":
        raise AtlasError(
            f"{path} is a run of {run.kind}, which keeps no rollouts; name one of grpo"
        )
    return run


def kept_steps(folder: Path) -> list[int]:
    """Return the steps whose rollouts are in a folder, in order."""
    found = (_NAME.fullmatch(path.name) for path in folder.glob("step_*.parquet"))
    return sorted(int(name[1]) for name in found if name)


def step_rows(
    folder: Path, step: int, columns: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Return the rows of a step.

    Args:
        folder: Of the tables.
        step: From 1.
        columns: Those to read; None for all but `TOKENS`. One that the table lacks is left out.

    Raises:
        AtlasError: There is no such step, or its table can't be read.
    """
    import pyarrow.parquet  # noqa: PLC0415 - slow to import

    steps = kept_steps(folder)
    if step not in steps:
        told = f"it has steps {steps[0]} to {steps[-1]}" if steps else "it has none"
        raise AtlasError(f"{folder} has no rollouts of step {step}; {told}")
    path = folder / f"step_{step:06d}.parquet"
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            there = file.schema_arrow.names
            wanted = [n for n in there if (n != TOKENS if columns is None else n in columns)]
            return file.read(columns=wanted).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise AtlasError(f"{path} can't be read as a table of rollouts: {error}") from error
