"""When a run measures, and which model it ends with."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atlas.run.metrics import MetricSink
from atlas.run.run_dir import RunDir
from atlas.training.best import BestModel
from atlas.training.evaluations import Evaluations


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir.create(tmp_path / "run", "sft")


@pytest.fixture
def sink(run: RunDir) -> Iterator[MetricSink]:
    with MetricSink(run, stage="sft", total_steps=9) as sink:
        yield sink


def evaluations(run: RunDir, sink: MetricSink, losses: list[float], **changed: Any) -> Evaluations:
    """Measurements that find these losses, one after the other, over nine steps."""
    found = iter(losses)
    settings: dict[str, Any] = {
        "best": BestModel(run.checkpoints, resumed=False, save=lambda folder, extra: None),
        "every": 3,
        "total": 9,
    }
    measured = Evaluations(measure=lambda: next(found), sink=sink, **settings | changed)
    for step in range(1, 10):
        measured.after_step(step)
        measured.after_step(step)  # asked twice when the user stops
    assert next(found, None) is None
    return measured


def test_an_earlier_step_wins_where_its_loss_is_lower(run: RunDir, sink: MetricSink) -> None:
    measured = evaluations(run, sink, [3.0, 1.0, 2.0, 1.5])
    assert measured.figures == {"eval_loss_before": 3.0, "eval_loss": 1.0, "best_step": 3}
    assert measured.verdict == "final/ is step 3 of 9, the lowest eval loss: 1"
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [(line["step"], line["eval/loss"]) for line in lines] == [
        (0, 3.0),
        (3, 1.0),
        (6, 2.0),
        (9, 1.5),
    ]


def test_the_last_step_wins_a_tie(run: RunDir, sink: MetricSink) -> None:
    assert evaluations(run, sink, [3.0, 2.0, 1.0, 1.0]).figures["best_step"] == 9


def test_without_a_best_model_the_last_is_taken(run: RunDir, sink: MetricSink) -> None:
    measured = evaluations(run, sink, [1.0, 1.0, 2.0, 4.0], best=None)
    assert measured.figures == {"eval_loss_before": 1.0, "eval_loss": 4.0, "best_step": 9}
    assert measured.verdict == (
        "final/ is step 9 of 9, the last: 4; warning: before training it was lower, 1"
    )


def test_a_run_that_goes_on_does_not_measure_its_beginning_again(
    run: RunDir, sink: MetricSink
) -> None:
    measured = evaluations(run, sink, [1.0], every=0, before=7.0)
    assert measured.figures == {"eval_loss_before": 7.0, "eval_loss": 1.0, "best_step": 9}


def test_nothing_held_out_is_said(run: RunDir, sink: MetricSink) -> None:
    measured = evaluations(run, sink, [math.nan] * 4)
    assert measured.verdict == "final/ is step 9, the last; nothing is held out to measure it on"
