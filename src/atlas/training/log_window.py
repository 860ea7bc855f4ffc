"""The steps between two lines of the log: what they gave, and their means as one line.

Input: each step's metrics. Output: a line for the `MetricSink` every so many steps, and one for
the steps that are left over at the end.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping

from atlas.parallel.engine.protocol import StepInfo
from atlas.run.metrics import MetricSink


class LogWindow:
    """Gathers steps until they are logged.

    Args:
        sink: Takes the lines.
    """

    def __init__(self, sink: MetricSink) -> None:
        self._sink = sink
        self.loss = float("nan")
        """Mean of the last logged steps, nats; NaN before the first line."""
        self._begin()

    def add(self, metrics: Mapping[str, float], info: StepInfo, *, num_tokens: int) -> None:
        """Take a step: its metrics by name, ``train/loss`` among them, and its tokens."""
        self._count += 1
        self._num_tokens += num_tokens
        self._info = info
        for name, value in metrics.items():
            self._sums[name] += value

    def log(self, step: int) -> None:
        """Write the means since the last line, as of ``step``; nothing where no step was taken."""
        if not self._count:
            return
        means = {name: value / self._count for name, value in self._sums.items()}
        self.loss = means["train/loss"]
        self._sink.log(
            step,
            {
                **means,
                "train/grad_norm": self._info.grad_norm,
                "train/learning_rate": self._info.learning_rate,
                "train/tokens_per_second": self._num_tokens / (time.monotonic() - self._started),
            },
        )
        self._begin()

    def _begin(self) -> None:
        self._sums: dict[str, float] = defaultdict(float)
        self._count = self._num_tokens = 0
        self._started = time.monotonic()
