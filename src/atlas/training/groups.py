"""Tasks to scored groups: the dual-agent loop, verified and rewarded.

Input: tasks, teacher, student. Output: one `RolloutGroup` a task; and from groups, the samples of
the update with their advantages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from atlas.objectives.advantages import AdvantageResult, AdvantageScale, group_advantages
from atlas.rewards.leaks import find_leak
from atlas.rewards.overlong import Overlong, with_overlong
from atlas.rewards.uplift import UpliftWeights, uplift_score
from atlas.rewards.verifiers import outcome
from atlas.rollouts.dialogue import Student, Teacher, teach_and_attempt
from atlas.training.likelihood import AnswerLikelihood
from atlas.types import Rollout, RolloutGroup, Score, Task, TrainSample


@dataclass(frozen=True, kw_only=True, slots=True)
class Classroom:
    """Who takes part in a rollout, and how it is scored."""

    teacher: Teacher
    student: Student
    likelihood: AnswerLikelihood | None
    """None leaves the dense part of the reward at 0."""
    weights: UpliftWeights
    overlong: Overlong | None = None
    """None for no penalty for length."""


def roll_out(
    room: Classroom, tasks: Sequence[Task], *, num_samples: int, seed: int
) -> list[RolloutGroup]:
    """Return one group of ``num_samples`` scored rollouts for each task."""
    taught = teach_and_attempt(
        room.teacher, room.student, tasks, num_samples=num_samples, seed=seed
    )
    alone = room.student.alone(tasks)
    repeated = [task for task in tasks for _ in range(num_samples)]
    teachings = [pair.teaching.text for group in taught for pair in group]
    dense = [0.0] * len(teachings)
    if room.likelihood is not None and room.weights.dense:
        dense = room.likelihood.gains(repeated, teachings)
    gains = iter(dense)
    groups: list[RolloutGroup] = []
    for task, before, pairs in zip(tasks, alone, taught, strict=True):
        baseline = outcome(task, before.baseline)
        rollouts = tuple(
            Rollout(
                teaching=pair.teaching,
                attempt=pair.attempt,
                score=with_overlong(
                    uplift_score(
                        baseline,
                        outcome(task, pair.attempt),
                        num_teaching_tokens=pair.teaching.num_tokens,
                        dense=next(gains),
                        leak=find_leak(task, pair.teaching.text),
                        weights=room.weights,
                    ),
                    pair.teaching.num_tokens,
                    room.overlong,
                ),
            )
            for pair in pairs
        )
        groups.append(
            RolloutGroup(
                task=task,
                baseline=before.baseline,
                baseline_score=Score(value=float(baseline.correct)),
                approach=before.approach,
                rollouts=rollouts,
            )
        )
    return groups


def train_samples(
    groups: Sequence[RolloutGroup],
    *,
    scale: AdvantageScale,
    mask_truncated: bool,
    epsilon: float = 1e-4,
) -> tuple[list[TrainSample], AdvantageResult]:
    """Return the samples of the update, members of a group side by side.

    Args:
        groups: All groups of the optimiser step.
        scale: What advantages are divided by.
        mask_truncated: Leave teachings that were cut out of the loss.
        epsilon: Added to what they are divided by, in units of reward.
    """
    values = [[rollout.score.value for rollout in group.rollouts] for group in groups]
    rewards_PG = torch.tensor([[float("nan") if v is None else v for v in row] for row in values])
    result = group_advantages(rewards_PG, ~rewards_PG.isnan(), scale, epsilon)
    samples: list[TrainSample] = []
    for p, group in enumerate(groups):
        for g, rollout in enumerate(group.rollouts):
            truncated = rollout.teaching.finish_reason == "length"
            used = bool(result.used_PG[p, g]) and not (truncated and mask_truncated)
            samples.append(
                TrainSample(
                    group=p,
                    prompt_ids=rollout.teaching.prompt_ids,
                    completion_ids=rollout.teaching.token_ids,
                    rollout_logprobs=rollout.teaching.logprobs,
                    advantage=float(result.advantages_PG[p, g]) if used else None,
                    truncated=truncated,
                )
            )
    return samples, result
