"""The runs below a folder, as their directories tell it: no run is opened to be gone on with."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from atlas.errors import AtlasError
from atlas.run.run_dir import RunDir

_LAST_STAGE = {"quickstart": "report", "ranked": "save"}
"""Kind of run -> the stage that ends it; of others the one that is called as they are."""
_RESUMED = frozenset({"sft", "grpo", "quickstart", "collect", "evaluate", "base_model"})
_STEPS = re.compile(r"^\s*(\d+)/(\d+)(?:\s|$)")
_TAIL = 16_384
_STAMP = len("2026-01-31 23:59:59")


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedRun:
    """One run directory."""

    path: str
    kind: str
    state: str
    """``running``, ``finished``, ``stopped by SIGTERM at step 10 of 40``, ``died at …``, …"""
    last_line: str
    """Of its log."""
    goes_on: str
    """The command that goes on with it; empty where it is finished or running."""
    command: str
    """The command line that began it, without secrets; empty where nothing kept it."""


def runs_below(folder: Path) -> list[ListedRun]:
    """Return the runs below a folder, by path; stages of a run are not listed by themselves."""
    found = []
    for path in _directories(folder):
        with contextlib.suppress(AtlasError):
            found.append(listed(RunDir.open(path)))
    return found


def listed(run: RunDir) -> ListedRun:
    """Return how far a run is.

    Raises:
        AtlasError: A file of it can't be read.
    """
    last_line, step = _last_lines(run)
    text = last_line.split("  ", 2)[-1]
    if run.in_use:
        state = "running" + step
    elif run.stage_done(_LAST_STAGE.get(run.kind, run.kind)):
        state = "finished"
    elif text.startswith(("stopped by ", "paused by ")):
        state = text + step
    elif text.startswith("ended: "):
        state = "ended by an error" + step
    else:
        state = ("died" if last_line else "begun, and did nothing") + step
    over = state == "finished" or run.in_use
    command = shlex.join(run.command)
    resume = f"atlas resume {shlex.quote(str(run.path))}" if run.kind in _RESUMED else command
    return ListedRun(
        path=str(run.path),
        kind=run.kind,
        state=state,
        last_line=last_line,
        goes_on="" if over else resume,
        command=command,
    )


def _directories(folder: Path) -> Iterator[Path]:
    for place, names, files in os.walk(folder):
        names.sort()
        if "run.json" in files:
            yield Path(place)
            names.clear()


def log_tail(run: RunDir, count: int) -> list[str]:
    """Return the last lines of a run's log and of those of its stages, in the order of time."""
    logs = [log for log in (run.log, *run.path.glob("*/training.log")) if log.is_file()]
    lines: list[str] = []
    for log in logs:
        with contextlib.suppress(OSError), log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL))
            lines += file.read().decode(errors="replace").splitlines()
    stamped = [line for line in lines if re.match(r"\d{4}-\d\d-\d\d ", line)]
    # Those of one second stay as they are: the last of them says how a run ended.
    return sorted(stamped, key=lambda line: line[:_STAMP])[-count:]


def _last_lines(run: RunDir) -> tuple[str, str]:
    """Return the last line of a run's log, and how far it says that the run is."""
    stamped = log_tail(run, _TAIL)
    steps = [found for line in stamped if (found := _STEPS.match(line.split("  ", 2)[-1]))]
    step = f" at step {steps[-1][1]} of {steps[-1][2]}" if steps else ""
    return (stamped[-1] if stamped else ""), step
