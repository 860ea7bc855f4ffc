"""Going through the steps of a training: stop where asked, learn, log, save.

Input: what each optimiser step learns from, and what learns from it. Output: lines for the
`MetricSink`, each the means over the steps since the last one. SFT, the base model, GRPO and the
ranked stages differ in what a step does, and go through their steps here.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TypeVar

from atlas.errors import AtlasError
from atlas.models.checkpoints import step_name
from atlas.parallel.engine.protocol import StepInfo
from atlas.run.metrics import MetricSink
from atlas.run.progress import Progress
from atlas.run.stopping import StopRequest
from atlas.training.chain import Chain, digest
from atlas.types import Tokens

S = TypeVar("S")

MOST_SKIPPED = 3
"""Steps in a row whose gradients may be not finite."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Learned:
    """What one optimiser step gave."""

    metrics: Mapping[str, float]
    """By name, as in ``train/loss``; a line has their means."""
    note: str
    """Shown beside the progress: ``loss 0.412``."""
    rows: Sequence[Tokens]
    """What it learned from."""
    latest: Mapping[str, float] = field(default_factory=dict)
    """Of which a line has the last, the learning rate for example."""
    num_tokens: int | None = None
    """That were computed, for ``train/tokens_per_second`` of a line; None: it says so itself."""

    @property
    def skipped(self) -> bool:
        """Whether the gradients were not finite, so that the weights stayed as they were."""
        return not math.isfinite({**self.metrics, **self.latest}.get("train/grad_norm", 0.0))


def learned(
    metrics: Mapping[str, float], info: StepInfo, rows: Sequence[Tokens], *, num_tokens: int
) -> Learned:
    """Return a step of one pass through its data.

    Args:
        metrics: ``train/loss`` among them.
        info: Of the optimiser's step.
        rows: That it learned from.
        num_tokens: That were computed.
    """
    return Learned(
        metrics=metrics,
        note=f"loss {metrics['train/loss']:.3f}",
        rows=rows,
        latest={"train/grad_norm": info.grad_norm, "train/learning_rate": info.learning_rate},
        num_tokens=num_tokens,
    )


@dataclass(kw_only=True, slots=True)
class Window:
    """What a loop remembers from step to step; checkpoints keep it, so that lines stay the same."""

    num_skipped: int = 0
    """Steps in a row, up to now, that changed nothing."""
    num_steps: int = 0
    """Since the last line of metrics, as all that follows."""
    num_tokens: int = 0
    seconds: float = 0.0
    sums: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Of a figure, and of how many steps that have it: some have no loss, or no canary."""
    latest: dict[str, float] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    """The rules of the doctor whose findings the log has."""

    def add(self, found: Learned, seconds: float) -> None:
        """Take a step."""
        self.num_steps += 1
        self.num_skipped = self.num_skipped + 1 if found.skipped else 0
        self.num_tokens += found.num_tokens or 0
        self.seconds += seconds
        self.latest |= found.latest
        for name, value in found.metrics.items():
            total, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = (total + float(value), count + 1)

    def close(self) -> dict[str, float]:
        """Return a line, of means; the next step begins a new one."""
        line = {name: total / count for name, (total, count) in self.sums.items()}
        if self.num_tokens:
            line["train/tokens_per_second"] = self.num_tokens / self.seconds
        line |= self.latest
        self.num_steps, self.num_tokens, self.seconds = 0, 0, 0.0
        self.sums, self.latest = {}, {}
        return line


@dataclass(frozen=True, kw_only=True, slots=True)
class Loop:
    """How a training goes through its steps, whatever it learns from."""

    sink: MetricSink
    """Takes the metrics."""
    progress: Progress
    """Told of every step."""
    stop: StopRequest
    """Asked before every step."""
    chain: Chain
    """Grows with every step."""
    logging_steps: int
    """Steps between two lines of metrics."""
    window: Window = field(default_factory=Window)
    """What the next line is made of: of a run that goes on, what its checkpoint kept."""
    first_step: int = 0
    """Steps that were done before, by a run that this one goes on from."""
    after_step: Callable[[int], None] = lambda step: None
    """Called with the number of steps done, to save checkpoints."""

    def run(self, steps: Iterable[S], learn: Callable[[int, S], Learned]) -> Mapping[str, float]:
        """Take the steps that are left.

        Args:
            steps: What each of them learns from.
            learn: Takes the number of the step, from 1, and what it learns from.

        Returns:
            The last line of metrics; empty where no step was left.

        Raises:
            AtlasError: The gradients of several steps in a row were not finite.
            Stopped: The user asked to stop; what was done is saved.
        """
        window, marked = self.window, time.monotonic()
        line: dict[str, float] = {}
        step = self.first_step
        for step, data in enumerate(steps, start=self.first_step + 1):
            if self.stop.asked and step > self.first_step + 1:
                self.after_step(step - 1)  # asked while the data was made: save what is done
            self.stop.check()
            found = learn(step, data)
            now = time.monotonic()
            window.add(found, now - marked)
            marked = now
            self.chain.add(step, digest(found.rows), found.metrics)
            self.progress.advance(note=found.note)
            if found.skipped:
                self._skipped(step, found.rows, window.num_skipped)
            if step % self.logging_steps == 0:
                line = window.close()
                self.sink.log(step, line, chain=self.chain.head)
                self._look_after(step)
            self.after_step(step)
        if window.num_steps:  # what the last whole window left over
            line = window.close()
            self.sink.log(step, line, chain=self.chain.head)
        return line

    def _look_after(self, step: int) -> None:
        """Tell what the doctor finds that it didn't before, and ask for the end that is wanted."""
        health = self.sink.health
        if health is None or self.sink.is_last(step):
            return
        found = health.findings()
        new = [finding for finding in found if finding.rule not in self.window.told]
        for finding in new:
            line = f"warning: {finding.what}; {finding.advice}"
            self.sink.note(line)
            self.progress.say(f"step {step}: {line}")
            self.window.told.append(finding.rule)
        action = health.action
        if (action == "pause" and new) or (action == "stop" and found):
            self.stop.ask(action)

    def _skipped(self, step: int, rows: Sequence[Tokens], in_a_row: int) -> None:
        """Say that a step changed nothing, and keep what it was to learn from."""
        text = "".join(json.dumps(asdict(row)) + "\n" for row in rows)
        kept = self.sink.keep(f"skipped/{step_name(step)}.jsonl", text)
        self.sink.note(
            f"warning: step {step} is skipped, its gradients are not finite; its batch: {kept}"
        )
        if in_a_row == MOST_SKIPPED:
            raise AtlasError(
                f"the gradients of {in_a_row} steps in a row are not finite (the last batch: "
                f"{kept}); lower learning_rate, or look at the data, and start over with --fresh"
            )
