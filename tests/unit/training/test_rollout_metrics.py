"""Means over the rollouts of a step, and the table that keeps them."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet
import pytest

from atlas.training.rollout_metrics import rollout_metrics, write_rollouts
from atlas.training.samples import train_samples
from atlas.types import Completion, Rollout, RolloutGroup, Score, Task


def said(num_tokens: int, finish: str = "stop") -> Completion:
    """A completion of so many tokens."""
    return Completion(
        prompt_ids=(1,),
        token_ids=(2,) * num_tokens,
        logprobs=(-0.5,) * num_tokens,
        text="A",
        finish_reason="stop" if finish == "stop" else "length",
    )


def rollout(
    value: float | None,
    *,
    uplift: float,
    degraded: float = 0.0,
    leaked: float = 0.0,
    teaching: Completion | None = None,
) -> Rollout:
    """A scored rollout."""
    parts = {"uplift": uplift, "degraded": degraded, "leaked": leaked, "dense": 0.25, "tokens": 0.0}
    return Rollout(
        teaching=teaching or said(4), attempt=said(10), score=Score(value=value, parts=parts)
    )


def group(alone: float, *rollouts: Rollout) -> RolloutGroup:
    """A group of one task."""
    return RolloutGroup(
        task=Task(question=f"Calculate {alone} + 1.", answer="2", family="basic_arithmetic"),
        baseline=said(20),
        baseline_score=Score(value=alone),
        approach=said(3),
        rollouts=rollouts,
    )


GROUPS = [
    group(0.0, rollout(1.0, uplift=1.0), rollout(0.0, uplift=0.0, leaked=1.0)),
    group(
        1.0,
        rollout(0.0, uplift=0.0),
        rollout(None, uplift=-1.0, degraded=1.0, teaching=said(8, "length")),
    ),
]


def test_means_by_hand() -> None:
    _, result = train_samples(GROUPS, scale="none", mask_truncated=True)
    metrics = rollout_metrics(GROUPS, result)
    assert metrics["train/reward"] == pytest.approx(1 / 3)  # the abstention is left out
    assert metrics["train/uplift"] == 0.0  # (1 + 0 + 0 - 1) / 4
    assert metrics["train/accuracy_alone"] == 0.5
    assert metrics["train/accuracy_taught"] == 0.5
    assert metrics["train/non_degrade_rate"] == 0.75
    assert metrics["train/leak_rate"] == 0.25
    assert metrics["train/dead_groups"] == 0.5  # the second: one member scored
    assert metrics["train/dead_groups_equal"] == 0.0
    assert metrics["train/truncated_share"] == 0.25
    assert metrics["train/abstained_share"] == 0.25
    assert metrics["train/teaching_tokens"] == 5.0


def test_the_table_has_a_row_a_rollout_and_keeps_the_abstention(tmp_path: Path) -> None:
    path = tmp_path / "rollouts" / "step_000001.parquet"
    write_rollouts(path, GROUPS)
    rows = pyarrow.parquet.read_table(path).to_pylist()
    assert [row["reward"] for row in rows] == [1.0, 0.0, 0.0, None]
    assert [row["part_uplift"] for row in rows] == [1.0, 0.0, 0.0, -1.0]


def test_parts_by_hand() -> None:
    scores = [
        Score(
            value=1.5,
            parts={"leaked": 0.0, "rim": 0.5, "rim_abstained": 0.0},
            weighted={"uplift": 1.0, "rim": 0.5},
        ),
        Score(
            value=-0.1,
            parts={"leaked": 1.0, "leak_encoded": 1.0},
            weighted={"uplift": -0.1},
        ),
        Score(value=None, parts={"leaked": 0.0, "rim_abstained": 1.0}),
    ]
    made = tuple(Rollout(teaching=said(4), attempt=said(9), score=score) for score in scores)
    groups = [group(0.0, *made)]
    _, result = train_samples(groups, scale="none", mask_truncated=True)
    metrics = rollout_metrics(groups, result)
    assert metrics["train/reward"] == pytest.approx(0.7)
    assert metrics["reward/uplift"] == pytest.approx(0.45)
    assert metrics["reward/rim"] == pytest.approx(0.25)  # shut by its gate it adds 0
    assert metrics["part/rim"] == 0.5  # the mean of what was said
    assert metrics["train/abstained_share/rim"] == 0.5
    assert metrics["train/leak_rate/encoded"] == pytest.approx(1 / 3)
    assert metrics["train/leak_rate/arithmetic"] == 0.0
    assert metrics["train/accuracy_alone"] != metrics["train/accuracy_alone"]  # nothing was told
