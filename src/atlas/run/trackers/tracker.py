"""What a metric sink asks of a tracker, and how one is found by its name.

A tracker is one file here and one row of `TRACKERS`. Its package is imported only when it is named
in ``report_to``.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from atlas.config.resolve import shown_values
from atlas.config.train import TrainConfig
from atlas.errors import AtlasError
from atlas.installing import install_command

TRACKERS: Mapping[str, str] = {
    "wandb": "atlas.run.trackers.wandb_run.WandbRun",
    "trackio": "atlas.run.trackers.trackio_run.TrackioRun",
}
"""Name in ``report_to``, which is also the package's -> the class that sends to it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunInfo:
    """What a tracker shows of a run."""

    project: str
    name: str
    id: str
    """The same for every process that goes on with the run."""
    group: str
    """The job."""
    config: Mapping[str, Any]
    """Every key with its value, passwords masked."""
    folder: Path
    """The run directory; what a tracker writes locally goes below it, where the tracker allows."""


class Tracker(Protocol):
    """Takes the numbers of one run."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take the finite numbers of a step."""
        ...

    def close(self) -> None:
        """Send what waits."""
        ...


def run_info(config: TrainConfig) -> RunInfo:
    """Return what trackers show of a configured run; the folder's place names it."""
    folder = Path(config.output_dir)
    place = str(folder.resolve())
    return RunInfo(
        project=config.tracker_project,
        name=config.run_name or str(folder),
        id=hashlib.sha256(place.encode()).hexdigest()[:16],
        group=str(getattr(config, "job", "train")),
        config=shown_values(config),
        folder=folder,
    )


def check_trackers(names: Sequence[str]) -> None:
    """Refuse trackers whose package isn't there.

    Raises:
        AtlasError: One isn't; the message says what installs it.
    """
    for name in names:
        if name in TRACKERS and find_spec(name) is None:
            raise AtlasError(
                f"report_to={name} needs the package {name}: {install_command('trackers')}"
            )


def open_trackers(config: TrainConfig) -> list[Tracker]:
    """Open every tracker that the configuration names; TensorBoard is always written and is none.

    Raises:
        AtlasError: A package isn't there.
    """
    names = [name for name in config.report_to or () if name in TRACKERS]
    check_trackers(names)
    return [_open(name, run_info(config)) for name in dict.fromkeys(names)]


def _open(name: str, info: RunInfo) -> Tracker:
    module, _, class_name = TRACKERS[name].rpartition(".")
    return getattr(importlib.import_module(module), class_name)(info)
