"""A job in stages: those that have not finished yet are run, in their order.

Input: a run directory and the stages, each a function of progress and stop. Output: a record in
``stages/`` of every stage that has finished, with its key figures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from atlas.run.progress import Progress
from atlas.run.run_dir import RunDir
from atlas.run.seeding import seed_everything
from atlas.run.stopping import StopRequest

Stage = Callable[[Progress, StopRequest], Mapping[str, Any]]


def run_stages(
    run: RunDir,
    stages: Mapping[str, Stage],
    *,
    seed: int,
    progress_of: Callable[[str], Progress],
    stop: StopRequest,
    outdated: Mapping[str, Callable[[Callable[[str], None]], None]] | None = None,
) -> None:
    """Run every stage that hasn't finished, and those behind it: they build on what it makes.

    Args:
        run: Locked by the caller.
        stages: By name, in the order that they run in.
        seed: Each stage's random numbers derive from it and from the stage's name.
        progress_of: Gives the progress display of a stage, by its name.
        outdated: By stage, what forgets one that has finished with something else than is there
            now; it is given what tells of that.

    Raises:
        Stopped: The user asked to stop; the next call goes on.
    """
    again = False
    for name, stage in stages.items():
        progress = progress_of(name)
        if run.stage_done(name) and outdated and name in outdated:
            outdated[name](run.teller(name, progress))
        if run.stage_done(name) and not again:
            progress.begin(1)
            progress.advance(note="done before")
            continue
        again = True
        stop.check()
        seed_everything(seed, name)
        started = time.monotonic()
        summary = stage(progress, stop)
        seconds = time.monotonic() - started
        run.finish_stage(name, summary, seconds)
