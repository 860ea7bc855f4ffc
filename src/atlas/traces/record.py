"""Rollouts to sessions: what the dual-agent loop did, as the Atlas SDK would record it.

Input: scored `RolloutGroup`s. Output: one `Session` a rollout, with plan, step, guidance, events
and reward; and back, the `Task` of a session that was recorded here.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from atlas.session import (
    AdaptiveSummary,
    GuidanceNote,
    Session,
    SessionReward,
    Step,
    StepAttempt,
    StepEvaluation,
    TrajectoryEvent,
)
from atlas.types import Completion, Rollout, RolloutGroup, Task

_STEP = "Answer the task with the teacher's plan."


def sessions_from_groups(groups: Iterable[RolloutGroup], *, learning_key: str) -> list[Session]:
    """Return a session for every rollout.

    Args:
        groups: Scored by verifier.
        learning_key: Names the collection, for filters.
    """
    return [
        _session(group, rollout, learning_key) for group in groups for rollout in group.rollouts
    ]


def task_of(session: Session) -> Task | None:
    """Return the verifiable task of a session; None where no reference answer was recorded."""
    recorded = (session.metadata or {}).get("task")
    recorded = recorded if isinstance(recorded, dict) else {}
    answer, family = recorded.get("answer"), recorded.get("family")
    if not isinstance(answer, str) or not isinstance(family, str):
        return None  # another program's own field of that name
    metadata = recorded.get("metadata")
    return Task(
        question=session.task,
        answer=answer,
        family=family,
        metadata=metadata if isinstance(metadata, dict) else {},
    )


def _session(group: RolloutGroup, rollout: Rollout, learning_key: str) -> Session:
    task, parts = group.task, rollout.score.parts
    alone = float(group.baseline_score.value or 0.0)
    right = alone + parts["uplift"] if "uplift" in parts else None
    now = datetime.now(UTC)
    evaluation = StepEvaluation(
        validation={"valid": right == 1.0, "leak": rollout.score.reason or None},
        reward=SessionReward(score=right),
    )
    return Session(
        task=task.question,
        final_answer=rollout.attempt.text,
        status="succeeded" if right == 1.0 else "failed",
        created_at=now,
        completed_at=now,
        steps=(
            Step(
                id=1,
                description=_STEP,
                output=rollout.attempt.text,
                guidance=(GuidanceNote(note=rollout.teaching.text),),
                attempts=(StepAttempt(attempt=1, evaluation=evaluation),),
                evaluation=evaluation,
            ),
        ),
        reward=SessionReward(score=right, extra={"parts": dict(parts)}),
        trajectory_events=tuple(
            _event(phase, completion, now)
            for phase, completion in (
                ("baseline", group.baseline),
                ("probe", group.approach),
                ("teach", rollout.teaching),
                ("attempt", rollout.attempt),
            )
        ),
        adaptive_summary=AdaptiveSummary(
            lane="paired",
            confidence=alone,
            certification_run=False,
            probe={"approach": group.approach.text, "baseline_correct": alone == 1.0},
        ),
        learning_key=learning_key,
        metadata={
            "teaching_finished": rollout.teaching.finish_reason == "stop",
            "task": {
                "id": task.id,
                "family": task.family,
                "answer": task.answer,
                "metadata": dict(task.metadata),
            },
        },
    )


def _event(phase: str, completion: Completion, now: datetime) -> TrajectoryEvent:
    return TrajectoryEvent(
        event={
            "event_type": "LLM_END",
            "phase": phase,
            "text": completion.text,
            "tokens": completion.num_tokens,
            "finish_reason": completion.finish_reason,
            "policy_version": completion.policy_version,
        },
        created_at=now,
    )
