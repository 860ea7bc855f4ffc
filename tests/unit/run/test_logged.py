from __future__ import annotations

from pathlib import Path

from atlas.run.logged import logged_lines


def test_the_last_line_of_a_step_counts_and_a_cut_one_does_not(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert logged_lines(path) == {}
    path.write_text('{"step": 1, "a": 1}\n{"step": 2}\n[3]\n{"step": 1, "a": 2}\n{"step": 3, "a')
    assert logged_lines(path) == {1: {"step": 1, "a": 2}, 2: {"step": 2}}
