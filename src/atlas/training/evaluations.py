"""When a supervised run measures its loss on held-out examples, and which model it ends with.

before the first step      once, logged as step 0; a run that goes on takes it from its checkpoint
every ``every`` steps      logged, and offered to the best model
after the last             logged; the last model is chosen unless an earlier one had a lower loss
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from atlas.run.metrics import MetricSink
from atlas.training.best import BestModel, Measured


class Evaluations:
    """The measurements of one run; the first is made at once.

    Args:
        measure: Returns the loss of the model as it is now; NaN where nothing is held out.
        best: Keeps the best model; None: the last model is chosen whatever its loss.
        sink: Takes ``eval/loss``.
        every: Steps between two measurements; 0: only before and after.
        total: Steps of the run.
        before: The first measurement, where it was made by the run that this one goes on from.
    """

    def __init__(
        self,
        *,
        measure: Callable[[], float],
        best: BestModel | None,
        sink: MetricSink,
        every: int,
        total: int,
        before: float | None = None,
    ) -> None:
        self._best = best
        self._measure, self._sink = measure, sink
        self._every, self._total = every, total
        self._last = Measured(step=0, eval_loss=math.nan)
        if before is None:
            before = measure()
            sink.log(0, {"eval/loss": before})
        self.before = float(before)
        """The loss before the first step."""

    def after_step(self, step: int) -> None:
        """Measure if it is time; the same step is measured once."""
        due = step == self._total or (self._every and step % self._every == 0)
        if not due or step == self._last.step:
            return
        self._last = Measured(step=step, eval_loss=self._measure())
        self._sink.log(step, {"eval/loss": self._last.eval_loss})
        if self._best and step < self._total:
            self._best.offer(step, self._last.eval_loss)

    @property
    def chosen(self) -> Measured:
        """What the run ends with, once the last step is done."""
        kept = self._best.best if self._best else None
        return kept if kept and kept.eval_loss < self._last.eval_loss else self._last

    @property
    def verdict(self) -> str:
        """Say which step the run ends with, and why."""
        chosen = self.chosen
        if math.isnan(chosen.eval_loss):
            return f"final/ is step {chosen.step}, the last; nothing is held out to measure it on"
        why = "the last" if chosen.step == self._total else "the lowest eval loss"
        said = f"final/ is step {chosen.step} of {self._total}, {why}: {chosen.eval_loss:.4g}"
        if chosen.eval_loss > self.before:
            said += f"; warning: before training it was lower, {self.before:.4g}"
        return said

    @property
    def figures(self) -> Mapping[str, float]:
        """Return the loss before training, that of the model chosen, and the chosen step."""
        return {
            "eval_loss_before": self.before,
            "eval_loss": self.chosen.eval_loss,
            "best_step": self.chosen.step,
        }
