"""Metrics: a step's numbers -> a line of ``metrics.jsonl``, TensorBoard events, a line to read.

``metrics.jsonl`` is the truth; the other two are views of it. A line reaches the system before
``log`` returns, so that a killed run has lost none::

    {"step": 3, "time": 1763772.5, "stage": "grpo", "train/reward": 0.41, "time/update": 1.9}
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, NotRequired, TypedDict, Unpack

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from atlas.config.resolve import shown_values
from atlas.config.train import TrainConfig
from atlas.errors import AtlasError
from atlas.json_file import parse_json
from atlas.run.files import append_line, disk_errors, refuse_gone, write_atomic
from atlas.run.goals import bounds_in
from atlas.run.health import Health
from atlas.run.run_dir import RunDir, stamped
from atlas.run.trackers.tracker import Tracker, open_trackers

KEY_FIGURES = (
    "train/loss",
    "train/reward",
    "train/uplift",
    "train/accuracy_alone",
    "train/accuracy_taught",
    "train/accuracy",
    "train/non_degrade_rate",
    "train/kl",
    "rim_rewards",
    "train/grad_norm",
    "train/learning_rate",
    "eval/loss",
)
"""What a line of ``training.log`` shows, in this order, of what was logged."""


class StageSteps(TypedDict):
    """The stage that is logged, and how long it is."""

    stage: str
    total_steps: int
    first_step: int
    """Steps that were done before, by a run that this one goes on from; 0 for none."""
    later_steps: NotRequired[float]
    """As `MetricSink` says."""


def sink_for(run: RunDir, config: TrainConfig, **steps: Unpack[StageSteps]) -> MetricSink:
    """Return the sink of a configured training, with its trackers."""
    settings = shown_values(config)
    return MetricSink(
        run,
        stage=steps["stage"],
        total_steps=steps["total_steps"],
        resume_step=steps["first_step"] or None,
        later_steps=steps.get("later_steps", 0.0),
        trackers=open_trackers(config),
        settings=settings,
        health=Health(steps["stage"], bounds_in(steps["stage"], settings)),
    )


class MetricSink:
    """The one place that a training loop gives its numbers to.

    Args:
        stage: The stage's name, in every line.
        total_steps: Steps that the whole stage will take, for the log's ETA.
        resume_step: The step whose checkpoint the stage goes on from: what an interrupted run wrote
            after it is dropped, so that no step appears twice. None when the stage starts anew:
            everything that an earlier attempt wrote for this stage is dropped.
        later_steps: What the stages after this one take, in steps of this one, for the ETA of all.
        trackers: Take the same numbers; one that fails is told of in the log and left alone.
        settings: The configuration, for TensorBoard's tables of runs; passwords masked.
        health: Takes the same numbers, and says what is wrong.

    Example:
        >>> with MetricSink(run, stage="grpo", total_steps=60) as sink:    # doctest: +SKIP
        ...     sink.log(1, {"train/loss": 0.2, "train/reward": 0.4})
    """

    def __init__(
        self,
        run: RunDir,
        *,
        stage: str,
        total_steps: int,
        resume_step: int | None = None,
        later_steps: float = 0.0,
        trackers: Sequence[Tracker] = (),
        settings: Mapping[str, Any] | None = None,
        health: Health | None = None,
    ) -> None:
        self.health = health
        self._run = run
        self._stage = stage
        self._total_steps = total_steps
        self._later_steps = later_steps
        self._first_step = resume_step or 0
        self._trackers = list(trackers)
        self._started = time.monotonic()
        run.forget_earlier()  # nothing can refuse this one any more
        _drop_lines(run.metrics, stage, resume_step)
        if health and resume_step:
            health.go_on(run.metrics)
        with disk_errors(run.metrics):
            self._lines = run.metrics.open("ab", buffering=0)
            self._log = run.log.open("ab", buffering=0)
            # TensorBoard then forgets what earlier event files say about these steps.
            purge_step = 0 if resume_step is None else resume_step + 1
            # A stage of a job with several has a curve of its own; they'd purge one another's.
            events = run.tensorboard if stage == run.kind else run.tensorboard / stage
            self._events = SummaryWriter(str(events), purge_step=purge_step)
            if settings:
                self._show_settings(settings)
        self.note(f"go on after step {resume_step}" if resume_step else "start")

    def log(self, step: int, metrics: Mapping[str, float], *, chain: str | None = None) -> None:
        """Write the numbers of one step.

        Args:
            step: Optimiser steps done, from 1; 0 for what was measured before the first.
            metrics: By name, as in ``train/loss``. What is not finite becomes null in the file.
            chain: The hash over all steps so far; None where nothing was learned.

        Raises:
            AtlasError: The disk is full, or the run directory is gone.
        """
        refuse_gone(self._run.metrics)
        now = time.time()
        line = {"step": step, "time": now, "stage": self._stage}
        line |= {"chain": chain} if chain else {}
        finite = {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
        values = {name: finite.get(name) for name in metrics}
        with disk_errors(self._run.metrics):
            append_line(self._lines, json.dumps(line | values))
            for name, value in finite.items():
                self._events.add_scalar(name, value, step, walltime=now)
            self._events.flush()
        for tracker in list(self._trackers):
            self._told(tracker, lambda tracker: tracker.log(step, finite))
        if self.health:
            self.health.take(step, finite)
        self.note(self._readable(step, metrics))

    def show(self, step: int, name: str, text: str) -> None:
        """Give TensorBoard a text, in Markdown, beside the step's numbers."""
        with disk_errors(self._run.tensorboard):
            self._events.add_text(name, text, step)

    def is_last(self, step: int) -> bool:
        """Tell whether the stage ends with a step."""
        return step >= self._total_steps

    def note(self, text: str) -> None:
        """Write a line of plain text to ``training.log``."""
        with disk_errors(self._run.log):
            append_line(self._log, stamped(self._stage, text))

    def keep(self, name: str, text: str) -> Path:
        """Write a file into the run directory; returns its path."""
        path = self._run.path / name
        write_atomic(path, text)
        return path

    def close(self) -> None:
        """Close all files; nothing is lost where this is never called."""
        with disk_errors(self._run.tensorboard):
            self._events.close()
        for tracker in list(self._trackers):
            self._told(tracker, lambda tracker: tracker.close())
        self._lines.close()
        self._log.close()

    def __enter__(self) -> MetricSink:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _show_settings(self, settings: Mapping[str, Any]) -> None:
        """Give TensorBoard the settings: as text, and as hyperparameters beside the key figures."""
        lines = [f"    {name}: {value}" for name, value in settings.items()]
        self._events.add_text("settings", "\n".join(lines))
        plain = {
            name: value if isinstance(value, bool | int | float) else str(value)
            for name, value in settings.items()
        }
        for summary in hparams(plain, dict.fromkeys(KEY_FIGURES, 0.0)):
            self._events._get_file_writer().add_summary(summary)  # add_hparams makes a second run

    def _told(self, tracker: Tracker, tell: Callable[[Tracker], None]) -> None:
        """Tell a tracker something; a failing one must not end the training."""
        try:
            tell(tracker)
        except Exception as error:  # whatever a foreign service raises
            self._trackers.remove(tracker)
            self.note(f"warning: {type(tracker).__name__} takes no more metrics: {error}")

    def _readable(self, step: int, metrics: Mapping[str, float]) -> str:
        figures = [
            f"{name.removeprefix('train/')} {metrics[name]:.4g}"
            for name in KEY_FIGURES
            if name in metrics
        ]
        if "train/dead_groups" in metrics and "train/loss" not in metrics:
            figures.append("no update: every group is dead")
        width = len(str(self._total_steps))
        parts = [f"{step:>{width}}/{self._total_steps}", *figures, self._eta(step)]
        return "  ".join(part for part in parts if part)

    def _eta(self, step: int) -> str:
        done = step - self._first_step
        if done <= 0:
            return ""
        a_step = (time.monotonic() - self._started) / done
        left = a_step * max(self._total_steps - step, 0)
        eta = f"ETA {timedelta(seconds=round(left))}"
        if self._later_steps:
            eta += (
                f", with what follows {timedelta(seconds=round(left + a_step * self._later_steps))}"
            )
        return eta


def _drop_lines(path: Path, stage: str, resume_step: int | None) -> None:
    """Drop this stage's lines after ``resume_step``, and a last line that a crash cut off."""
    if not path.exists():
        return
    try:
        content = path.read_bytes()
    except OSError as error:
        raise AtlasError(f"{path} can't be read: {error.strerror}") from error
    kept = []
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        where = f"{path}, line {number}"
        record = parse_json(line, where)
        step = record.get("step")
        if not (isinstance(record.get("stage"), str) and type(step) is int):
            raise AtlasError(
                f"{where} isn't a step's metrics; move the file away, or start over with --fresh"
            )
        if record["stage"] != stage or (resume_step is not None and step <= resume_step):
            kept.append(line + b"\n")
    if b"".join(kept) != content:
        write_atomic(path, b"".join(kept))
