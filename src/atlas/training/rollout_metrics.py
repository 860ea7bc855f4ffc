"""Groups to the numbers that say how teaching goes, and to the table that keeps every rollout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow
import pyarrow.parquet

from atlas.objectives.advantages import AdvantageResult
from atlas.rewards.leaks.find import LEAK_KINDS
from atlas.rewards.repetition import loops, repetition
from atlas.run.files import replacing
from atlas.types import Completion, Rollout, RolloutGroup

Pair = tuple[RolloutGroup, Rollout]
_ABSTAINED = "_abstained"
_OWN_NAMES = frozenset({"uplift", "degraded", "leaked", "dense", "overlong"})
"""Parts that have had metrics of their own name from the beginning."""


def rollout_metrics(groups: Sequence[RolloutGroup], result: AdvantageResult) -> Mapping[str, float]:
    """Return the means over the step's rollouts; rates are shares from 0 to 1."""
    pairs = [(group, rollout) for group in groups for rollout in group.rollouts]
    values = [r.score.value for _, r in pairs if r.score.value is not None]
    overlong = [r.score.parts["overlong"] for _, r in pairs if "overlong" in r.score.parts]
    alone, uplift = _before_and_gain(pairs)
    return {
        "train/reward": _mean(values),
        "train/uplift": uplift,
        "train/accuracy_alone": alone,
        "train/accuracy_taught": alone + uplift,
        "train/non_degrade_rate": 1 - _mean(_part(pairs, "degraded")),
        "train/leak_rate": _mean(_part(pairs, "leaked")),
        "train/dense": _mean(_part(pairs, "dense")),
        "train/dead_groups": result.num_dead / len(groups),
        "train/dead_groups_equal": result.num_equal / len(groups),
        "train/dead_groups_unscored": result.num_too_few_scored / len(groups),
        "train/truncated_share": _mean([_cut(r.teaching) for _, r in pairs]),
        "train/attempt_truncated_share": _mean([_cut(r.attempt) for _, r in pairs]),
        "train/abstained_share": 1 - len(values) / len(pairs),
        "train/teaching_tokens": _mean([r.teaching.num_tokens for _, r in pairs]),
        "train/attempt_tokens": _mean([r.attempt.num_tokens for _, r in pairs]),
        **({"train/overlong": _mean(overlong)} if overlong else {}),
        "train/repetition": _mean([repetition(r.teaching.text) for _, r in pairs]),
        "train/loop_rate": _mean([float(loops(r.teaching.text)) for _, r in pairs]),
        **{f"train/leak_rate/{kind}": _share(pairs, f"leak_{kind}") for kind in LEAK_KINDS},
        **_by_part(pairs),
    }


def _by_part(pairs: Sequence[Pair]) -> Mapping[str, float]:
    """Return every part by itself: its mean, how often it abstained, what it adds to the reward.

    ``reward/<part>`` is weighted, and a part that was shut by its gate adds 0, so that these means
    sum to ``train/reward``.
    """
    parts = {name for _, r in pairs for name in r.score.parts} - _OWN_NAMES
    rewarded = [pair for pair in pairs if pair[1].score.value is not None]
    weighted = {name for _, r in rewarded for name in r.score.weighted}
    metrics: dict[str, float] = {}
    for name in sorted(parts):
        if name.endswith(_ABSTAINED):
            of = name.removesuffix(_ABSTAINED)
            metrics[f"train/abstained_share/{of}"] = _mean(_part(pairs, name))
        elif not name.startswith("leak_"):
            metrics[f"part/{name}"] = _mean(_part(pairs, name))
    for name in sorted(weighted):
        added = [r.score.weighted.get(name, 0.0) for _, r in rewarded]
        metrics[f"reward/{name}"] = _mean(added)
    return metrics


def _before_and_gain(pairs: Sequence[Pair]) -> tuple[float, float]:
    """Return accuracy alone and uplift, over the rollouts where both could be told."""
    told = [(g, r) for g, r in pairs if "uplift" in r.score.parts]
    alone = [float(g.baseline_score.value or 0) for g, _ in told]
    return _mean(alone), _mean(_part(told, "uplift"))


def _part(pairs: Sequence[Pair], name: str) -> list[float]:
    """Return a part of every score that has it."""
    return [r.score.parts[name] for _, r in pairs if name in r.score.parts]


def _share(pairs: Sequence[Pair], name: str) -> float:
    return _mean([r.score.parts.get(name, 0.0) for _, r in pairs])


def write_rollouts(path: Path, groups: Sequence[RolloutGroup]) -> None:
    """Write every rollout of a step as one parquet table, a row each.

    Raises:
        AtlasError: The disk is full.
    """
    scores = [rollout.score for group in groups for rollout in group.rollouts]
    # Arrow takes the columns of the first row; a part that only some scores have must be there too.
    parts = dict.fromkeys(name for score in scores for name in score.parts)
    weighted = dict.fromkeys(name for score in scores for name in score.weighted)
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
            **{f"part_{name}": rollout.score.parts.get(name) for name in parts},
            **{f"reward_{name}": rollout.score.weighted.get(name) for name in weighted},
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


def policy_age(groups: Sequence[RolloutGroup], step: int) -> Mapping[str, float]:
    """Return how many versions older than the policy the weights were that sampled a step's groups.

    Args:
        groups: All of the step.
        step: The first is 1, and its policy version 0.
    """
    versions = [one.teaching.policy_version for group in groups for one in group.rollouts]
    return {"serving/policy_age": step - 1 - sum(versions) / max(len(versions), 1)}
