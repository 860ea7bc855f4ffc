"""A line as the Atlas SDK's exporter writes it, with all its copies."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from atlas.errors import AtlasError
from atlas.session import (
    MISSING,
    AdaptiveSummary,
    GuidanceNote,
    JudgeVerdict,
    Plan,
    PlanStep,
    Session,
    SessionReward,
    Step,
    StepAttempt,
    StepEvaluation,
    TrajectoryEvent,
)
from atlas.traces.jsonl import JsonlTraceStore
from atlas.traces.store import SessionQuery

EVALUATION = {"validation": {"valid": True}, "reward": {"score": 0.9}}
EVENT = {"event_type": "LLM_END", "name": "student", "metadata": {"actor": "student"}}
ATTEMPTS = [{"attempt": 1, "evaluation": {"validation": {}, "reward": {"score": 0.2}}}]
EVENTS = [
    {
        "id": 5,
        "event": EVENT,
        "created_at": "2025-01-02T03:04:06+00:00",
        "type": "LLM_END",
        "event_type": "LLM_END",
        "name": "student",
        "actor": "student",
    }
]
LINE = {
    "task": "Fix it.",
    "final_answer": "Fixed.",
    "plan": {
        "steps": [
            {
                "id": 1,
                "description": "Look.",
                "tool": None,
                "tool_params": None,
                "depends_on": [],
            }
        ],
        "execution_mode": "stepwise",
    },
    "steps": [
        {
            "step_id": 1,
            "description": "Look.",
            "trace": "HUMAN: look",
            "output": "Seen.",
            "reward": {"score": 0.9, "judges": [], "rationale": None, "raw": {"score": 0.9}},
            "tool": None,
            "tool_params": {},
            "context": {"prior_results": {}, "prior_results_text": {}},
            "validation": {"valid": True},
            "attempts": 2,
            "guidance": ["Look closer.", "And again."],
            "artifacts": {"log": "x"},
            "runtime": {"seconds": 3},
            "status": "ok",
            "attempt_history": ATTEMPTS,
            "attempt_details": ATTEMPTS,
            "raw_evaluation": EVALUATION,
            "depends_on": [],
            "metadata": {
                "artifacts": {"log": "x"},
                "runtime": {"seconds": 3},
                "status": "ok",
                "attempt_history": ATTEMPTS,
                "attempt_details": ATTEMPTS,
                "raw_evaluation": EVALUATION,
                "depends_on": [],
            },
        }
    ],
    "session_metadata": {
        "session_id": 41,
        "status": "succeeded",
        "created_at": "2025-01-02T03:04:05+00:00",
        "completed_at": "2025-01-02T03:05:05+00:00",
        "trajectory_events": EVENTS,
        "adaptive_summary": {"adaptive_mode": "coach", "confidence": 0.4, "probe": {"mode": "c"}},
        "learning_key": "ops",
        "teacher_notes": ["Look closer."],
    },
    "review_status": "approved",
    "session_reward": {"score": 0.9, "judges": [{"identifier": "process", "score": 0.9}]},
    "reward_stats": {"score": 0.9, "score_stddev": 0.1},
    "adaptive_summary": {"adaptive_mode": "coach", "confidence": 0.4, "probe": {"mode": "c"}},
    "learning_key": "ops",
    "teacher_notes": ["Look closer."],
    "trajectory_events": EVENTS,
}


def read(tmp_path, line) -> Session:
    path = tmp_path / "export.jsonl"
    path.write_text(json.dumps(line) + "\n")
    [session] = JsonlTraceStore(path).sessions(SessionQuery())
    return session


def test_an_exported_line_is_the_session_without_its_copies(tmp_path):
    assert read(tmp_path, LINE) == Session(
        task="Fix it.",
        final_answer="Fixed.",
        status="succeeded",
        review_status="approved",
        created_at=datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC),
        completed_at=datetime(2025, 1, 2, 3, 5, 5, tzinfo=UTC),
        plan=Plan(
            steps=(
                PlanStep(id=1, description="Look.", tool=None, tool_params=None, depends_on=()),
            ),
            execution_mode="stepwise",
        ),
        steps=(
            Step(
                id=1,
                trace="HUMAN: look",
                output="Seen.",
                evaluation=StepEvaluation(
                    validation={"valid": True}, reward=SessionReward(score=0.9)
                ),
                attempts=(
                    StepAttempt(
                        attempt=1,
                        evaluation=StepEvaluation(validation={}, reward=SessionReward(score=0.2)),
                    ),
                ),
                num_attempts=2,
                guidance=(
                    GuidanceNote(note="Look closer.", sequence=1),
                    GuidanceNote(note="And again.", sequence=2),
                ),
                artifacts={"log": "x"},
                runtime={"seconds": 3},
                metadata={"status": "ok"},
            ),
        ),
        reward=SessionReward(score=0.9, judges=(JudgeVerdict(identifier="process", score=0.9),)),
        reward_stats={"score": 0.9, "score_stddev": 0.1},
        trajectory_events=(
            TrajectoryEvent(event=EVENT, created_at=datetime(2025, 1, 2, 3, 4, 6, tzinfo=UTC)),
        ),
        student_learning=MISSING,
        teacher_learning=MISSING,
        adaptive_summary=AdaptiveSummary(lane="coach", confidence=0.4, probe={"mode": "c"}),
        learning_key="ops",
        metadata={"teacher_notes": ["Look closer."]},
    )


def test_ids_are_taken_from_where_the_exporter_puts_them(tmp_path):
    session = read(tmp_path, LINE)

    assert session.id == 41
    assert session.trajectory_events[0].id == 5


def test_a_copy_that_differs_from_its_original_is_kept(tmp_path):
    session = read(tmp_path, {**LINE, "learning_key": "other", "new_field": 1})

    assert session.learning_key == "ops"
    assert session.extra == {"learning_key": "other", "new_field": 1}


def test_without_plan_metadata_and_stored_evaluation_the_copies_serve(tmp_path):
    step = {
        "step_id": 3,
        "description": "Act.",
        "trace": "",
        "output": "done",
        "reward": {"score": 0.5},
        "validation": {"valid": False},
        "attempts": 1,
        "guidance": [],
        "metadata": {},
        "artifacts": {},
        "deliverable": {"text": "done"},
        "runtime": None,
        "depends_on": [2],
    }
    session = read(tmp_path, {"task": "t", "plan": {}, "steps": [step], "trajectory_events": None})

    [step_read] = session.steps
    assert (step_read.description, step_read.depends_on) == ("Act.", (2,))
    assert step_read.validation == {"valid": False}
    assert step_read.evaluation.reward.score == 0.5
    assert step_read.deliverable == {"text": "done"}
    assert step_read.runtime is MISSING
    assert session.trajectory_events == ()


@pytest.mark.parametrize(
    ("guidance", "notes"),
    [
        ("Add one.", ["Add one."]),
        ({"note": "Add one."}, ["Add one."]),
        (["a", {"sequence": 7, "note": "b"}], ["a", "b"]),
        (None, []),
        ("", []),
    ],
)
def test_guidance_is_a_list_of_notes_or_one_of_them(tmp_path, guidance, notes):
    session = read(tmp_path, {"task": "t", "steps": [{"step_id": 1, "guidance": guidance}]})
    assert [note.note for note in session.steps[0].guidance] == notes


@pytest.mark.parametrize("guidance", [5, True, [None], [5]])
def test_guidance_that_is_no_text_makes_a_broken_line(tmp_path, guidance):
    with pytest.raises(AtlasError, match=r"line 1: steps\[0\]: expected"):
        read(tmp_path, {"task": "t", "steps": [{"step_id": 1, "guidance": guidance}]})
