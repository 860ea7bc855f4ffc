"""The page is written for one run, and for several."""

from __future__ import annotations

from pathlib import Path

from tests.unit.report.fake_run import make_fake_run
from typer.testing import CliRunner

from atlas.cli.app import app


def test_one_run_or_several(tmp_path: Path) -> None:
    runs = [str(make_fake_run(tmp_path / name, num_tasks=6)) for name in "ab"]
    said = CliRunner().invoke(app, ["report", runs[0]]).output
    assert said == f"report: {tmp_path / 'a' / 'report.html'}\n"
    both = str(tmp_path / "both.html")
    assert (
        CliRunner().invoke(app, ["report", *runs, "--output", both]).output == f"report: {both}\n"
    )
    assert "2 runs, side by side" in Path(both).read_text()
