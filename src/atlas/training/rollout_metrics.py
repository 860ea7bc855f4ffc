"""Groups to the numbers that say how teaching goes, and to the table that keeps every rollout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow
import pyarrow.parquet

from atlas.objectives.advantages import AdvantageResult
from atlas.runtime.files import replacing
from atlas.types import Completion, RolloutGroup


def rollout_metrics(groups: Sequence[RolloutGroup], result: AdvantageResult) -> Mapping[str, float]:
    """Return the means over the step's rollouts; rates are shares from 0 to 1."""
    pairs = [(group, rollout) for group in groups for rollout in group.rollouts]
    values = [r.score.value for _, r in pairs if r.score.value is not None]
    uplift = _mean([r.score.parts["uplift"] for _, r in pairs])
    overlong = [r.score.parts["overlong"] for _, r in pairs if "overlong" in r.score.parts]
    alone = _mean([float(g.baseline_score.value or 0) for g, _ in pairs])
    return {
        "train/reward": _mean(values),
        "train/uplift": uplift,
        "train/accuracy_alone": alone,
        "train/accuracy_taught": alone + uplift,
        "train/non_degrade_rate": 1 - _mean([r.score.parts["degraded"] for _, r in pairs]),
        "train/leak_rate": _mean([r.score.parts["leaked"] for _, r in pairs]),
        "train/dense": _mean([r.score.parts["dense"] for _, r in pairs]),
        "train/dead_groups": result.num_dead / len(groups),
        "train/dead_groups_equal": result.num_equal / len(groups),
        "train/truncated_share": _mean([_cut(r.teaching) for _, r in pairs]),
        "train/attempt_truncated_share": _mean([_cut(r.attempt) for _, r in pairs]),
        "train/abstained_share": 1 - len(values) / len(pairs),
        "train/teaching_tokens": _mean([r.teaching.num_tokens for _, r in pairs]),
        "train/attempt_tokens": _mean([r.attempt.num_tokens for _, r in pairs]),
        **({"train/overlong": _mean(overlong)} if overlong else {}),
    }


def write_rollouts(path: Path, groups: Sequence[RolloutGroup]) -> None:
    """Write every rollout of a step as one parquet table, a row each.

    Raises:
        AtlasError: The disk is full.
    """
    rows = [
        {
            "task_id": group.task.id,
            "family": group.task.family,
            "question": group.task.question,
            "answer": group.task.answer,
            "baseline": group.baseline.text,
            "approach": group.approach.text,
            "teaching": rollout.teaching.text,
            "teaching_tokens": rollout.teaching.num_tokens,
            "attempt": rollout.attempt.text,
            "reward": rollout.score.value,
            "reason": rollout.score.reason,
            "policy_version": rollout.teaching.policy_version,
            **{f"part_{name}": value for name, value in rollout.score.parts.items()},
        }
        for group in groups
        for rollout in group.rollouts
    ]
    with replacing(path) as temporary:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), temporary)


def _cut(completion: Completion) -> float:
    return float(completion.finish_reason == "length")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
