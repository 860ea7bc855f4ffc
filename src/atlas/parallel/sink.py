"""The metrics of ranks that write nothing: all of them count the same, rank 0 writes it down."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

from atlas.config.train import TrainConfig
from atlas.parallel.distributed import Ranks
from atlas.run.metrics import MetricSink, StageSteps, sink_for
from atlas.run.run_dir import RunDir


class SilentSink(MetricSink):
    """Takes metrics and forgets them."""

    def __init__(self, run: RunDir, **options: Any) -> None:
        """Open nothing."""
        self.health = None

    def log(self, step: int, metrics: Mapping[str, float], *, chain: str | None = None) -> None:
        """Take them."""

    def show(self, step: int, name: str, text: str) -> None:
        """Take it."""

    def note(self, text: str) -> None:
        """Take it."""

    def keep(self, name: str, text: str) -> Path:
        """Forget it."""
        return Path(name)

    def close(self) -> None:
        """Close nothing."""


def sink_on(
    ranks: Ranks, run: RunDir, config: TrainConfig, **steps: Unpack[StageSteps]
) -> MetricSink:
    """Return this rank's sink: `sink_for` on rank 0."""
    return sink_for(run, config, **steps) if ranks.is_main else SilentSink(run)
