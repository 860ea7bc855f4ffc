"""``atlas selftest``: the numbers of the training, checked on this machine."""

from __future__ import annotations

import sys

from atlas.cli.terminal import console
from atlas.from_scratch.selftest import run_checks


def run() -> None:
    """Run the command; exit code 1 where a check fails."""
    failed = 0
    seconds = 0.0
    for verdict in run_checks():
        mark = "[green]ok[/green]    " if verdict.holds else "[red]FAILED[/red]"
        console.print(f"{mark} {verdict.what:<34}", end="")
        text = verdict.failure or f"off by {verdict.error:.1e}, at most {verdict.tolerance:.0e}"
        console.print(text, markup=False, soft_wrap=True)
        failed += not verdict.holds
        seconds += verdict.seconds
    result = f"{failed} checks failed" if failed else "Every check holds"
    console.print(f"{result}; {seconds:.1f} s")
    sys.exit(1 if failed else 0)
