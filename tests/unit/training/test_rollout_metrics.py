"""Means over the rollouts of a step, and the table that keeps them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet
import pytest

from atlas.data.recorded import FACTS
from atlas.environments.teaching.metrics import teaching_metrics
from atlas.training.chain import digest
from atlas.training.replay import tokens_of
from atlas.training.rollout_metrics import rollout_metrics, sample_text, write_rollouts
from atlas.training.samples import train_samples
from atlas.types import Attempt, Completion, Episode, Leak, Lesson, Score, Task, Utterance, Verdict


def said(num_tokens: int, finish: str = "stop") -> Completion:
    """A completion of so many tokens."""
    return Completion(
        prompt_ids=(1,),
        token_ids=(2,) * num_tokens,
        logprobs=(-0.5,) * num_tokens,
        text="A",
        finish_reason="stop" if finish == "stop" else "length",
    )


def lesson(alone: float, score: Score, *, teaching: Completion | None = None) -> Lesson:
    """A scored lesson."""
    teaching = teaching or said(4)
    return Lesson(
        task=Task(question=f"Calculate {alone} + 1.", answer="2", family="basic_arithmetic"),
        turns=(teaching,),
        alone=Attempt(num_tokens=20, verdict=Verdict(score=alone, parsed=True)),
        approach=Utterance(num_tokens=3),
        teaching=Utterance.of(teaching),
        attempt=Attempt(num_tokens=10),
        score=score,
    )


def scored(
    value: float | None, *, uplift: float, degraded: float = 0.0, leaked: float = 0.0
) -> Score:
    """The score of a teaching with its parts."""
    parts = {"uplift": uplift, "degraded": degraded, "leaked": leaked, "dense": 0.25, "tokens": 0.0}
    return Score(value=value, parts=parts)


GROUPS = [
    (
        lesson(0.0, scored(1.0, uplift=1.0)),
        lesson(0.0, scored(0.0, uplift=0.0, leaked=1.0)),
    ),
    (
        lesson(1.0, scored(0.0, uplift=0.0)),
        lesson(1.0, scored(None, uplift=-1.0, degraded=1.0), teaching=said(8, "length")),
    ),
]


def all_metrics(groups: list[tuple[Lesson, ...]]) -> dict[str, float]:
    """Those of every environment and those of teaching."""
    _, result = train_samples(groups, scale="none", mask_truncated=True)
    lessons = [lesson for group in groups for lesson in group]
    return {**rollout_metrics(groups, result), **teaching_metrics(lessons)}


def test_means_by_hand() -> None:
    metrics = all_metrics(GROUPS)
    assert metrics["train/reward"] == pytest.approx(1 / 3)  # the abstention is left out
    assert metrics["train/uplift"] == 0.0  # (1 + 0 + 0 - 1) / 4
    assert metrics["train/accuracy_alone"] == 0.5
    assert metrics["train/accuracy_taught"] == 0.5
    assert metrics["train/non_degrade_rate"] == 0.75
    assert metrics["train/leak_rate"] == 0.25
    assert metrics["train/dead_groups"] == 0.5  # the second: one member scored
    assert metrics["train/dead_groups_equal"] == 0.0
    assert metrics["train/dead_groups_right"] == 0.0
    assert metrics["train/truncated_share"] == 0.25
    assert metrics["train/abstained_share"] == 0.25
    assert metrics["train/teaching_tokens"] == 5.0


def test_the_table_has_a_row_a_rollout_and_keeps_the_abstention(tmp_path: Path) -> None:
    path = tmp_path / "rollouts" / "step_000001.parquet"
    samples, _ = train_samples(GROUPS, scale="none", mask_truncated=False)
    write_rollouts(path, GROUPS, samples, 1)
    rows = pyarrow.parquet.read_table(path).to_pylist()
    assert [row["reward"] for row in rows] == [1.0, 0.0, 0.0, None]
    found = [(row["step"], row["group"], row["member"], row["advantage"]) for row in rows]
    assert found == [(1, 0, 0, 0.5), (1, 0, 1, -0.5), (1, 1, 0, None), (1, 1, 1, None)]
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
    metrics = all_metrics([tuple(lesson(0.0, score) for score in scores)])
    assert metrics["train/reward"] == pytest.approx(0.7)
    assert metrics["reward/uplift"] == pytest.approx(0.45)
    assert metrics["reward/rim"] == pytest.approx(0.25)  # shut by its gate it adds 0
    assert metrics["part/rim"] == 0.5  # the mean of what was said
    assert metrics["train/abstained_share/rim"] == 0.5
    assert metrics["train/leak_rate/encoded"] == pytest.approx(1 / 3)
    assert metrics["train/leak_rate/arithmetic"] == 0.0
    assert metrics["train/accuracy_alone"] != metrics["train/accuracy_alone"]  # nothing was told


def test_an_episode_of_several_turns_has_its_text_in_the_table(tmp_path: Path) -> None:
    task = Task(question="Guess.", answer="3", family="guess")
    made = Episode(task=task, turns=(said(2), said(3)), replies=("higher",), score=Score(value=1.0))
    samples, _ = train_samples([(made, made)], scale="none", mask_truncated=False)
    write_rollouts(tmp_path / "step.parquet", [(made, made)], samples, 1)
    rows = pyarrow.parquet.read_table(tmp_path / "step.parquet").to_pylist()
    assert [(row["completion"], row["completion_tokens"]) for row in rows] == [
        ("A\n> higher\nA", 5)
    ] * 2


def test_a_group_of_right_answers_is_dead_for_a_good_reason() -> None:
    verdict = Verdict(score=1.0, parsed=True)
    taught = replace(lesson(0.0, scored(1.0, uplift=1.0)), attempt=Attempt(verdict=verdict))
    leaking = replace(taught, leak=Leak(kind="verbatim", reason="it says so"))
    metrics = all_metrics([(taught, taught), (taught, leaking), GROUPS[0]])
    assert metrics["train/dead_groups"] == pytest.approx(2 / 3)
    assert metrics["train/dead_groups_right"] == pytest.approx(1 / 3)


def test_what_was_recorded_of_a_task_has_columns(tmp_path: Path) -> None:
    recorded = {"recorded": {"lane": "coach", "confidence": 0.4, "personas": "critic"}}
    known = replace(GROUPS[0][0], task=replace(GROUPS[0][0].task, metadata=recorded))
    groups = [(known, GROUPS[0][1])]
    samples, _ = train_samples(groups, scale="none", mask_truncated=False)
    write_rollouts(tmp_path / "step.parquet", groups, samples, 1)
    rows = pyarrow.parquet.read_table(tmp_path / "step.parquet").to_pylist()
    shown = [tuple(row[name] for name in FACTS) for row in rows]
    assert shown == [(None, "coach", 0.4, None, "critic"), (None, None, None, None, None)]


def test_the_table_keeps_what_the_update_learns_from(tmp_path: Path) -> None:
    """A member that was cut is in no loss: its advantage is null, whatever its group's are."""
    cut = replace(GROUPS[0][0], turns=(said(8, "length"),))
    groups = [(GROUPS[0][0], GROUPS[0][1], cut)]
    samples, _ = train_samples(groups, scale="none", mask_truncated=True)
    write_rollouts(tmp_path / "step.parquet", groups, samples, 1)
    rows = pyarrow.parquet.read_table(tmp_path / "step.parquet").to_pylist()
    kept = [tokens_of(learned, row["task_id"]) for row in rows for learned in row["tokens"]]
    assert [digest([one]) for one in kept] == [digest([one]) for one in samples]
    assert kept[0].source == GROUPS[0][0].task.id
    assert [row["advantage"] is None for row in rows] == [False, False, True]
    assert [row["truncated"] for row in rows] == [False, False, True]
    assert [row["baseline_right"] for row in rows] == [0.0, 0.0, 0.0]
    assert [row["attempt_right"] for row in rows] == [None, None, None]  # not verified


def test_the_sample_is_the_best_and_worst_of_the_group_whose_scores_differ_most() -> None:
    text = sample_text(GROUPS)
    assert text.startswith(
        "**task**\n\n    Calculate 0.0 + 1.\n\n**best, reward +1.000**\n\n    A\n"
    )
    assert text.index("best, reward +1.000") < text.index("worst, reward +0.000")
    assert text.count("**the student's answer to it**") == 2
    unscored = replace(GROUPS[0][0], score=Score(value=None, reason="outage"))
    assert sample_text([(unscored,)]).startswith("no score")
    assert sample_text([(unscored, GROUPS[0][0])]).count("reward +1.000") == 2
