"""``benchmarks/endurance.py`` at a small size: what can be counted, and no times."""

from __future__ import annotations

from pathlib import Path

from benchmarks.endurance import KEPT, endure


def test_a_run_that_faults_befall_keeps_its_files_and_its_disk(tmp_path: Path) -> None:
    steps = 48
    found = endure(tmp_path, steps=steps, kills=1)
    assert (found.kills, found.full_disks, found.outages, found.skipped) == (1, 1, 1, 1)
    assert found.steps == list(range(1, steps + 1))
    assert len({sample.pid for sample in found.samples}) == 3
    assert len({sample.files for sample in found.samples}) == 1
    assert len(found.checkpoints) == KEPT
    assert found.leftovers == []
    kept = sorted(path.name for path in (tmp_path / "run" / "rollouts").iterdir())
    assert kept == [f"step_{step:06d}.parquet" for step in range(1, steps + 1)]
