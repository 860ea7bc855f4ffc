"""``atlas report``: a run directory to one page."""

from __future__ import annotations

from atlas.cli.terminal import console
from atlas.report import write_report
from atlas.run.run_dir import RunDir


def run(path: str) -> None:
    """Run the command."""
    page = write_report(RunDir.open(path).path)
    console.print(f"report: {page}", markup=False, soft_wrap=True)
