"""The metrics of ranks that write nothing: all of them count the same, rank 0 writes it down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atlas.runtime.distributed import Ranks
from atlas.runtime.metrics import MetricSink
from atlas.runtime.run_dir import RunDir


class SilentSink(MetricSink):
    """Takes metrics and forgets them."""

    def __init__(self, run: RunDir, **options: Any) -> None:
        """Open nothing."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take them."""

    def note(self, text: str) -> None:
        """Take it."""

    def close(self) -> None:
        """Close nothing."""


def sink_class(ranks: Ranks) -> type[MetricSink]:
    """Return the sink of this rank."""
    return MetricSink if ranks.is_main else SilentSink
