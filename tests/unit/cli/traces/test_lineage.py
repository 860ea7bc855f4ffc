"""Whose lineage a path means."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas.cli.traces.lineage import find_lineages, own_database
from atlas.errors import AtlasError
from atlas.run.lineage import Lineage, write_lineage

LINEAGE = Lineage(source="t.jsonl", train=("1",), eval=(), num_samples={"train": 1, "eval": 0})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A quickstart's run directory, and the guide's link into it."""
    run = tmp_path / "runs" / "q"
    for stage in ("sft", "grpo"):
        (run / stage / "final").mkdir(parents=True)
        (run / stage / "checkpoints" / "step_000001").mkdir(parents=True)
        write_lineage(run / stage, LINEAGE)
    (run / "pg").mkdir()
    (run / "pg" / "PG_VERSION").touch()
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "rl_checkpoint").symlink_to(run / "grpo" / "final")
    return run


@pytest.mark.parametrize(
    ("path", "stages"),
    [
        ("runs/q", ["grpo", "sft"]),
        ("runs/q/sft", ["sft"]),
        ("runs/q/sft/final", ["sft"]),
        ("runs/q/sft/checkpoints/step_000001", ["sft"]),
        ("runs/q/sft/lineage.json", ["lineage.json"]),
        ("results/rl_checkpoint", ["grpo"]),
    ],
)
def test_a_path_leads_to_its_run_and_that_run_s_database(
    tmp_path: Path, run: Path, path: str, stages: list[str]
) -> None:
    found = find_lineages(tmp_path / path)
    assert [place.name for place in found] == stages
    assert all(lineage == LINEAGE for lineage in found.values())
    database = own_database(tmp_path / path)
    assert database is not None
    assert database.resolve() == run / "pg"


def test_a_model_folder_s_own_lineage_comes_first(run: Path) -> None:
    write_lineage(run / "grpo" / "final", LINEAGE)
    assert list(find_lineages(run / "grpo" / "final")) == [run / "grpo" / "final"]


def test_no_lineage_is_said(tmp_path: Path) -> None:
    for path, reason in ((tmp_path, "doesn't say what"), (tmp_path / "gone", "isn't there")):
        with pytest.raises(AtlasError, match=reason):
            find_lineages(path)
    assert own_database(tmp_path) is None
