"""What the commands show: progress with an ETA, tables, and a clean stop on Ctrl-C."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from atlas.parallel.world import world
from atlas.run.stopping import Stopped, StopRequest, stop_on_signal

console = Console(highlight=False, quiet=not world().is_main)
"""Of several processes the first one speaks."""


class StageBar:
    """Draws one stage as a line of a `rich` progress display."""

    def __init__(self, display: Progress, name: str) -> None:
        self._display = display
        self._task: TaskID = display.add_task(name, total=None, note="")

    def begin(self, total: int) -> None:
        """Take the number of units."""
        self._display.update(self._task, total=total)

    def advance(self, units: int = 1, note: str = "") -> None:
        """Draw units as done."""
        self._display.update(self._task, advance=units, note=note)

    def say(self, line: str) -> None:
        """Print a line above the display."""
        self._display.console.print(line, markup=False)


def display() -> Progress:
    """Return a progress display with an ETA for every stage."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description:<10}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=not world().is_main,
    )


def _heard() -> None:
    console.print("Stopping after this step; Ctrl-C again stops at once.")


@contextlib.contextmanager
def stoppable(hint: str) -> Iterator[StopRequest]:
    """Stop cleanly on Ctrl-C: say how to go on, exit with code 130."""
    try:
        with stop_on_signal(_heard) as stop:
            yield stop
    except (Stopped, KeyboardInterrupt):
        console.print(f"\nStopped. {hint}")
        sys.exit(130)
