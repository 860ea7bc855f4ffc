"""Lessons to sessions: what the dual-agent loop did, as the Atlas SDK would record it.

Input: scored `Lesson`s. Output: one `Session` each, with plan, step, guidance, events and reward;
and back, the `Task` of a session that was recorded here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from atlas.prompts.thinking import joined
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
from atlas.types import Attempt, Lesson, Task, Utterance

_STEP = "Answer the task with the teacher's plan."


def sessions_from_lessons(lessons: Iterable[Lesson], *, learning_key: str) -> list[Session]:
    """Return a session for every lesson.

    Args:
        lessons: Scored by verifier.
        learning_key: Names the collection, for filters.
    """
    return [_session(lesson, learning_key) for lesson in lessons]


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


def _session(lesson: Lesson, learning_key: str) -> Session:
    task, parts = lesson.task, lesson.score.parts
    alone = lesson.alone.right
    right = alone + parts["uplift"] if "uplift" in parts else None
    now = datetime.now(UTC)
    evaluation = StepEvaluation(
        validation={"valid": right == 1.0, "leak": lesson.score.reason or None},
        reward=SessionReward(score=right),
    )
    return Session(
        task=task.question,
        final_answer=lesson.attempt.text,
        status="succeeded" if right == 1.0 else "failed",
        created_at=now,
        completed_at=now,
        steps=(
            Step(
                id=1,
                description=_STEP,
                output=lesson.attempt.text,
                guidance=_guidance(lesson),
                attempts=_attempts(lesson, evaluation),
                evaluation=evaluation,
            ),
        ),
        reward=SessionReward(score=right, extra={"parts": dict(parts)}),
        trajectory_events=tuple(
            _event(phase, said, version, now)
            for phase, said, version in (
                ("baseline", lesson.alone, 0),
                ("probe", lesson.approach, 0),
                ("teach", lesson.teaching, lesson.turns[-1].policy_version),
                ("attempt", lesson.attempt, 0),
            )
        ),
        adaptive_summary=AdaptiveSummary(
            lane="paired",
            confidence=alone,
            certification_run=bool(lesson.reviews and lesson.reviews[-1].certified),
            probe={
                "approach": lesson.approach.text,
                "alone": lesson.alone.text,
                "baseline_correct": alone == 1.0,
            },
        ),
        learning_key=learning_key,
        metadata={
            "teaching_finished": lesson.teaching.finished,
            **_unshown(lesson),
            **({"reviews": _reviews(lesson)} if lesson.reviews else {}),
            "task": {
                "id": task.id,
                "family": task.family,
                "answer": task.answer,
                "metadata": dict(task.metadata),
            },
        },
    )


def _guidance(lesson: Lesson) -> tuple[GuidanceNote, ...]:
    """Return what the student was shown; a note on each attempt that was sent back."""
    later = [turn.guidance for turn in lesson.attempt.turns[1:] if turn.guidance]
    if not lesson.reviews and not later:
        return (GuidanceNote(note=lesson.teaching.text),)
    notes = [lesson.turns[0].text, *later] if later else []
    notes += [review.guidance for review in lesson.reviews if review.tried_again]
    return tuple(GuidanceNote(note=note, sequence=n) for n, note in enumerate(notes, start=1))


def _attempts(lesson: Lesson, last: StepEvaluation) -> tuple[StepAttempt, ...]:
    """Return every attempt with its validation label; the last one is the session's."""
    sent_back = [review for review in lesson.reviews if review.tried_again]
    earlier = [
        StepAttempt(
            attempt=number,
            evaluation=StepEvaluation(validation={"valid": review.attempt.right == 1.0}),
        )
        for number, review in enumerate(sent_back, start=1)
    ]
    return (*earlier, StepAttempt(attempt=len(earlier) + 1, evaluation=last))


def _reviews(lesson: Lesson) -> list[dict[str, Any]]:
    """Return what the teacher read and wrote, in order; a plan before it has no attempt."""
    planned = len(lesson.turns) - len(lesson.reviews)
    plans = [{"said": joined(turn.thoughts, turn.text)} for turn in lesson.turns[:planned]]
    return plans + [
        {
            "attempt": review.attempt.text,
            "certified": review.certified,
            "true": review.true,
            "said": joined(turn.thoughts, turn.text),
        }
        for turn, review in zip(lesson.turns[planned:], lesson.reviews, strict=True)
    ]


def _unshown(lesson: Lesson) -> dict[str, str]:
    """Return all that the teacher wrote, where the student was shown a part of it."""
    turn = lesson.turns[-1]
    said = joined(turn.thoughts, turn.text)
    return {} if said == lesson.teaching.text else {"teaching_said": said}


def _event(phase: str, said: Utterance, version: int, now: datetime) -> TrajectoryEvent:
    turns = said.turns if isinstance(said, Attempt) else ()
    return TrajectoryEvent(
        event={
            "event_type": "LLM_END",
            "phase": phase,
            "text": said.text,
            **({"thoughts": said.thoughts} if said.thoughts else {}),
            **({"withheld": said.withheld} if said.withheld else {}),
            "tokens": said.num_tokens,
            "finish_reason": "stop" if said.finished else "length",
            "policy_version": version,
            **({"turns": [asdict(turn) for turn in turns]} if turns else {}),
        },
        created_at=now,
    )
