from __future__ import annotations

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from atlas.errors import AtlasError
from atlas.run.rollouts import kept_steps, rollouts_run, step_rows
from atlas.run.run_dir import RunDir


def kept(folder: Path, step: int) -> Path:
    """A table of one row."""
    folder.mkdir(exist_ok=True)
    rows = [{"step": step, "reward": 0.5, "tokens": [{"ids": [1, 2]}]}]
    path = folder / f"step_{step:06d}.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def test_steps_are_found_and_read_without_their_tokens(tmp_path: Path) -> None:
    for step in (12, 3):
        kept(tmp_path / "rollouts", step)
    (tmp_path / "rollouts" / ".step_000004.parquet.tmp").touch()
    assert kept_steps(tmp_path / "rollouts") == [3, 12]
    assert step_rows(tmp_path / "rollouts", 3) == [{"step": 3, "reward": 0.5}]
    asked = step_rows(tmp_path / "rollouts", 3, ["tokens", "younger"])
    assert asked == [{"tokens": [{"ids": [1, 2]}]}]


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match="it has none"):
        step_rows(tmp_path / "rollouts", 1)
    kept(tmp_path / "rollouts", 2).write_bytes(b"PAR1, and no more")
    with pytest.raises(AtlasError, match=r"step_000002\.parquet can't be read"):
        step_rows(tmp_path / "rollouts", 2)
    with pytest.raises(AtlasError, match="no rollouts of step 1; it has steps 2 to 2"):
        step_rows(tmp_path / "rollouts", 1)


def test_the_run_is_the_stage_of_a_quickstart(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "quick", "quickstart")
    with pytest.raises(AtlasError, match="name one of grpo"):
        rollouts_run(run.path)
    assert rollouts_run(run.sub("grpo").path).path == rollouts_run(run.path).path
