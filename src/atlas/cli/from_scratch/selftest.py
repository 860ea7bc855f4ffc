"""``atlas selftest``: the numbers of the training, checked on this machine.

The guide's troubleshooting calls it verifying the GRPO implementation.
"""

from __future__ import annotations

import sys

from atlas.cli.options import command_app
from atlas.cli.terminal import say

app = command_app()


@app.command()
def selftest() -> None:
    """Check the training's numbers on this machine: formulas, gradients, shortcuts; seconds."""
    from atlas.from_scratch.selftest import run_checks

    failed = 0
    seconds = 0.0
    for verdict in run_checks():
        mark, colour = ("ok", "green") if verdict.holds else ("FAILED", "red")
        text = verdict.failure or f"off by {verdict.error:.1e}, at most {verdict.tolerance:.0e}"
        say(f" {verdict.what:<34}{text}", lead=f"{mark:<6}", fg=colour)
        failed += not verdict.holds
        seconds += verdict.seconds
    result = f"{failed} checks failed" if failed else "Every check holds"
    say(f"{result}; {seconds:.1f} s")
    sys.exit(1 if failed else 0)
