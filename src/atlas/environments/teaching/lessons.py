"""Tasks to scored groups: the dual-agent loop, verified and rewarded.

Input: tasks, teacher, student. Output: one `RolloutGroup` a task.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from atlas.environments.teaching.dialogue import Alone, Student, Taught, Teacher, teach_and_attempt
from atlas.environments.teaching.likelihood import AnswerLikelihood
from atlas.rewards.composition import ONLY_UPLIFT, UPLIFT, Composition, compose_group, is_open
from atlas.rewards.exchange import Exchange, TeachingScorer
from atlas.rewards.leaks.find import find_leak
from atlas.rewards.overlong import Overlong, with_overlong
from atlas.rewards.uplift import UpliftWeights, uplift_score
from atlas.rewards.verifiers import outcomes
from atlas.types import Outcome, Rollout, RolloutGroup, Score, Task

_SHARES = 4
"""So many parts of a step's groups are generated and scored one behind the other."""
_NOT_ASKED = Score(value=None, reason="not asked")


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
    reward: Composition = ONLY_UPLIFT
    scorers: Mapping[str, TeachingScorer] = field(default_factory=dict)
    """Of the parts of the reward besides uplift, by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Attempted:
    """Tasks that were taught and tried, not rewarded yet; P of everything."""

    tasks: Sequence[Task]
    alone: Sequence[Alone]
    baselines: Sequence[Outcome]
    taught: Sequence[Sequence[Taught]]
    exchanges: Sequence[Sequence[Exchange]]
    uplifts: Sequence[Sequence[Score]]


def roll_out(
    room: Classroom,
    tasks: Sequence[Task],
    *,
    num_samples: int,
    seed: int,
    first_place: int = 0,
) -> list[RolloutGroup]:
    """Return one group of ``num_samples`` scored rollouts for each task.

    Scorers such as judges, who wait for other machines, read a share of the groups while the next
    share is generated. ``first_place`` is the place of the first task among the step's: another
    process may have the others.
    """
    if not room.scorers:
        return _rewarded(
            room,
            _attempted(room, tasks, num_samples=num_samples, seed=seed, first_place=first_place),
        )
    size = -(-len(tasks) // _SHARES)
    with ThreadPoolExecutor(1, thread_name_prefix="atlas-scorers") as scoring:
        waiting: list[Future[list[RolloutGroup]]] = []
        for start in range(0, len(tasks), size):
            attempted = _attempted(
                room,
                tasks[start : start + size],
                num_samples=num_samples,
                seed=seed,
                first_place=first_place + start,
            )
            waiting.append(scoring.submit(_rewarded, room, attempted))
        return [group for share in waiting for group in share.result()]


def _attempted(
    room: Classroom, tasks: Sequence[Task], *, num_samples: int, seed: int, first_place: int
) -> _Attempted:
    """Teach and try tasks, and verify what came of it."""
    taught = teach_and_attempt(
        room.teacher,
        room.student,
        tasks,
        num_samples=num_samples,
        seed=seed,
        first_place=first_place,
    )
    alone = room.student.alone(tasks)
    dense = iter(_dense(room, tasks, taught))
    baselines = outcomes(tasks, [one.baseline for one in alone])
    scored = [
        _score_group(room, p, task, before, baseline, pairs, dense)
        for p, (task, before, baseline, pairs) in enumerate(
            zip(tasks, alone, baselines, taught, strict=True), start=first_place
        )
    ]
    return _Attempted(
        tasks=tasks,
        alone=alone,
        baselines=baselines,
        taught=taught,
        exchanges=[exchanges for exchanges, _ in scored],
        uplifts=[uplifts for _, uplifts in scored],
    )


def _rewarded(room: Classroom, attempted: _Attempted) -> list[RolloutGroup]:
    """Compose the reward of every teaching."""
    scores = _rewards(room, attempted.exchanges, attempted.uplifts)
    return [
        RolloutGroup(
            task=task,
            baseline=before.baseline,
            baseline_score=Score(
                value=None if baseline.unverified else float(baseline.correct),
                reason=baseline.unverified,
            ),
            approach=before.approach,
            rollouts=tuple(
                Rollout(
                    teaching=pair.teaching,
                    attempt=pair.attempt,
                    score=with_overlong(score, pair.teaching.num_tokens, room.overlong),
                )
                for pair, score in zip(pairs, group, strict=True)
            ),
        )
        for task, before, baseline, pairs, group in zip(
            attempted.tasks,
            attempted.alone,
            attempted.baselines,
            attempted.taught,
            scores,
            strict=True,
        )
    ]


def _score_group(
    room: Classroom,
    group: int,
    task: Task,
    before: Alone,
    baseline: Outcome,
    pairs: Sequence[Taught],
    dense: Iterator[float],
) -> tuple[list[Exchange], list[Score]]:
    """Return what was said in a group, and the uplift of each teaching."""
    exchanges: list[Exchange] = []
    uplifts: list[Score] = []
    found = outcomes([task] * len(pairs), [pair.attempt for pair in pairs])
    for pair, taught in zip(pairs, found, strict=True):
        leak = find_leak(task, pair.teaching.text)
        exchanges.append(
            Exchange(
                group=group,
                task=task,
                baseline=before.baseline.text,
                approach=before.approach.text,
                teaching=pair.teaching.text,
                attempt=pair.attempt.text,
                right=taught.correct,
                leaked=leak is not None,
            )
        )
        uplifts.append(
            uplift_score(
                baseline,
                taught,
                num_teaching_tokens=pair.teaching.num_tokens,
                dense=next(dense),
                leak=leak,
                weights=room.weights,
            )
        )
    return exchanges, uplifts


def _dense(
    room: Classroom, tasks: Sequence[Task], taught: Sequence[Sequence[Taught]]
) -> list[float]:
    """Return the gain in likelihood of every teaching, 0 where it isn't asked for."""
    teachings = [pair.teaching.text for group in taught for pair in group]
    if room.likelihood is None or not room.weights.dense:
        return [0.0] * len(teachings)
    repeated = [task for task, group in zip(tasks, taught, strict=True) for _ in group]
    return room.likelihood.gains(repeated, teachings)


def _rewards(
    room: Classroom, exchanges: Sequence[Sequence[Exchange]], uplifts: Sequence[Sequence[Score]]
) -> Iterator[list[Score]]:
    """Yield the rewards of each group; a scorer is asked once, about all that it counts for."""
    flat = [exchange for group in exchanges for exchange in group]
    found: dict[str, list[Score]] = {}
    for part in room.reward.parts:
        if part.name == UPLIFT:
            found[UPLIFT] = [score for group in uplifts for score in group]
            continue
        asked = [exchange for exchange in flat if is_open(part, exchange)]
        given = iter(room.scorers[part.name](asked) if asked else ())
        found[part.name] = [next(given) if is_open(part, e) else _NOT_ASKED for e in flat]
    start = 0
    for group in exchanges:
        places = range(start, start + len(group))
        members = [{name: scores[i] for name, scores in found.items()} for i in places]
        yield compose_group(room.reward, members, group)
        start += len(group)
