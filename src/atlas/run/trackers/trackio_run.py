"""trackio: a dashboard whose data lies on this machine (``trackio show``), or in a Space.

Where the data lies is trackio's own variable, ``TRACKIO_DIR``.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping

import trackio

from atlas.run.trackers.tracker import RunInfo


class TrackioRun:
    """One run in trackio."""

    def __init__(self, info: RunInfo) -> None:
        # It prints how to open its dashboard, in the middle of our progress.
        with contextlib.redirect_stdout(io.StringIO()):
            self._run = trackio.init(
                project=info.project,
                name=f"{info.name} {info.id[:6]}",
                group=info.group,
                config=dict(info.config),
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take the numbers of a step."""
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        """Send what waits."""
        # Not the run's own: trackio would finish it once more when the process ends, and say so.
        with contextlib.redirect_stdout(io.StringIO()):
            trackio.finish()
