"""What the commands show: lines, tables, progress with an ETA, and a clean stop.

Whatever is printed, a session's task or a model's answer, passes `printable` on its way.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import typer

from atlas.errors import AtlasError, OwnCodeError, printable
from atlas.masking import mask_secrets
from atlas.parallel.world import world
from atlas.run.progress import Progress
from atlas.run.run_dir import RunDir
from atlas.run.stopping import Stopped, StopRequest, stop_on_signal

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars


LINE_SECONDS = 30.0
"""Between two lines about a stage, where its progress isn't drawn."""


def say(line: str = "", *, lead: str = "", end: str = "\n", **style: Any) -> None:
    """Print a line as it is, without cuts; of several processes the first one speaks.

    Args:
        lead: What stands before it, in the style.
        style: Of the lead, as `typer.style` takes it.
    """
    if not world().is_main:
        return
    lead = printable(lead)
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        lead = typer.style(lead, **style)
    sys.stdout.write(f"{lead}{printable(line)}{end}")
    sys.stdout.flush()


def show_json(value: Any) -> None:
    """Print a value for programs: JSON, in which what a terminal would act on is escaped."""
    if world().is_main:
        sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def show_table(
    title: str | None,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Sequence[str] = (),
    **style: Any,
) -> None:
    """Print a table.

    Args:
        rows: A cell a column.
        right: Headers of the columns that are set to the right.
        style: As `rich.table.Table` takes it.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, **style)
    for column in columns:
        justify = "right" if column in right else "left"
        table.add_column(column, justify=justify, no_wrap=table.box is None)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console().print(table)


def width() -> int:
    """Return how many characters a line of the terminal holds."""
    return console().width


@cache
def console() -> Console:
    """Return what draws tables and progress."""
    from rich.console import Console

    style: Any = {"color_system": None} if os.environ.get("NO_COLOR") else {}
    return Console(highlight=False, quiet=not world().is_main, **style)


class StageBar:
    """Draws one stage as a line of a `rich` progress display."""

    def __init__(self, display: Bars, name: str) -> None:
        self._display = display
        self._task = display.add_task(name, total=None, note="")

    def begin(self, total: int, done: int = 0) -> None:
        """Take the number of units; elapsed time and ETA are those of the work from here on."""
        self._display.reset(self._task, total=total, completed=done)

    def advance(self, units: int = 1, note: str = "") -> None:
        """Draw units as done."""
        self._display.update(self._task, advance=units, note=printable(note))

    def say(self, line: str) -> None:
        """Print a line above the display."""
        self._display.console.print(printable(line), markup=False)


class StageLines:
    """Tells of one stage in lines, where nothing can be redrawn: a pipe, a file, CI.

    A line when the first unit is done, one every so many seconds, and one at the end.

    Args:
        name: The stage's.
        write: Takes a line.
        seconds: Between two lines.
        clock: Gives the time in seconds.
    """

    def __init__(
        self,
        name: str,
        write: Callable[[str], None] = say,
        *,
        seconds: float = LINE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name, self._write, self._seconds, self._clock = name, write, seconds, clock
        self._total = self._before = self._done = 0
        self._started = clock()
        self._due = self._started

    def begin(self, total: int, done: int = 0) -> None:
        """Take the number of units, and how many were done before."""
        self._total, self._before, self._done = total, done, done
        self._started = self._due = self._clock()

    def advance(self, units: int = 1, note: str = "") -> None:
        """Write a line if one is due."""
        self._done += units
        now = self._clock()
        finished = self._done >= self._total
        if not units or (now < self._due and not finished):
            return
        self._due = now + self._seconds
        elapsed, worked = now - self._started, self._done - self._before
        left = elapsed / worked * (self._total - self._done) if worked else 0
        when = f"done in {_clock_text(elapsed)}" if finished else f"ETA {_clock_text(left)}"
        parts = (f"{self._name:<10}", f"{self._done}/{self._total}", note, when)
        self._write("  ".join(part for part in parts if part))

    def say(self, line: str) -> None:
        """Write it."""
        self._write(line)


def _clock_text(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _display() -> Bars:
    """Return a progress display with an ETA for every stage."""
    from rich import progress

    return progress.Progress(
        progress.SpinnerColumn(),
        progress.TextColumn("{task.description:<10}"),
        progress.BarColumn(bar_width=28),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("ETA"),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[note]}", markup=False),
        console=console(),
        disable=not world().is_main,
    )


@contextlib.contextmanager
def _stages() -> Iterator[Callable[[str], Progress]]:
    """Yield what makes the display of a stage from its name."""
    if not console().is_terminal:
        yield StageLines
        return
    with _display() as display:
        yield lambda name: StageBar(display, name)


@contextlib.contextmanager
def working(
    hint: str, run: RunDir | None = None
) -> Iterator[tuple[StopRequest, Callable[[str], Progress]]]:
    """Show progress and stop cleanly for as long as the block runs; its end is noted in the run.

    Progress is bars on a terminal, and lines elsewhere. Yields the request to stop, and what shows
    a stage from its name. Where a signal stops the block, this process ends with the exit code that
    shells have for it.

    Args:
        hint: How to go on, said where it is stopped.
    """
    stop = StopRequest()
    try:
        with (
            stop_on_signal(lambda: say("Stopping after this step; once more stops at once.")) as (
                stop
            ),
            _stages() as shown,
        ):
            yield stop, shown
    except (Stopped, KeyboardInterrupt):
        _note(run, stop.how)
        if run is not None and stop.doctor:
            hint = f"{hint} Looking closer: atlas doctor {run.path}"
        say(f"\n{stop.how.capitalize() if stop.doctor else 'Stopped'}. {hint}")
        sys.exit(stop.exit_code)
    except AtlasError as error:
        own = isinstance(error, OwnCodeError) and error.__cause__
        trace = "".join(traceback.format_exception(own)) if own else ""
        _note(run, f"ended: {error}" + (f"\n{mask_secrets(trace).rstrip()}" if trace else ""))
        raise
    except Exception as error:
        error.run_directory = run and run.path  # type: ignore[attr-defined]
        raise


def _note(run: RunDir | None, text: str) -> None:
    """Write how the work ended into the run's log, if that can still be done."""
    if run is not None and world().is_main:
        with contextlib.suppress(AtlasError, OSError):
            run.note(run.kind, text)
