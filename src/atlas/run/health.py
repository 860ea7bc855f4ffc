"""The doctor beside a training: what is wrong with a stage, while its lines of metrics come in.

Input: the lines as they are logged. Output: the findings of `diagnose` that can be true of a run
that isn't over; whether a loss or a KL stays low, only the end can tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from atlas.config.parts.goals import GoalsConfig
from atlas.run.diagnosis import Finding, diagnose
from atlas.run.goals import Curve
from atlas.run.logged import logged_lines

FIRST: Final = 10
"""Lines of metrics before anything is said: fewer show no trend, and beginnings are rough."""


class Health:
    """What is wrong with one stage of a run.

    Args:
        stage: ``sft``, ``grpo``, ``pretrain`` or ``ranked``.
        bounds: Of the goals.
    """

    def __init__(self, stage: str, bounds: GoalsConfig) -> None:
        self.action = bounds.on_unhealthy
        """What to do about findings; the training loop does it."""
        self._stage, self._bounds = stage, bounds
        self._curves: dict[str, list[tuple[float, float]]] = {}
        self._steps: set[int] = set()

    def go_on(self, metrics: Path) -> None:
        """Take the lines that the stage has logged before."""
        for step, line in logged_lines(metrics, self._stage).items():
            self.take(step, line)

    def take(self, step: int, line: Mapping[str, Any]) -> None:
        """Take a line of metrics; what is no number in it is passed over."""
        if step:  # 0 is what was measured before the first
            self._steps.add(step)
        for name, value in line.items():
            if isinstance(value, float):
                self._curves.setdefault(name, []).append((step, value))

    def findings(self) -> tuple[Finding, ...]:
        """Return what is wrong as of the last line, causes first."""
        if len(self._steps) < FIRST:
            return ()
        curves: dict[str, Curve] = {name: tuple(curve) for name, curve in self._curves.items()}
        found = diagnose(self._stage, curves, self._bounds)
        return tuple(finding for finding in found if not finding.at_end)
