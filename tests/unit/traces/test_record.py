"""Rollouts as sessions: status, reward, and the task back out of a session."""

from __future__ import annotations

from dataclasses import replace

import pytest

from atlas.data.sft import probed
from atlas.session import Session
from atlas.traces.postgres.reading import PostgresTraceStore
from atlas.traces.postgres.writing import write_sessions
from atlas.traces.record import sessions_from_lessons, task_of
from atlas.traces.store import SessionQuery
from atlas.types import Attempt, Completion, Lesson, Score, Task, Utterance, Verdict

TASK = Task(
    question="Calculate 2 + 3 * 4.",
    answer="14",
    family="basic_arithmetic",
    metadata={"difficulty": {"num_terms": [3, 4]}},
)


def lesson(*, alone: float, uplift: float, reason: str = "") -> Lesson:
    """One task, one teaching."""
    plan = Completion(
        prompt_ids=(1,),
        token_ids=(2, 3),
        logprobs=(-0.1, -0.2),
        text="A = 3 * 4. B = 2 + A. Answer B.",
        finish_reason="stop",
        policy_version=7,
    )
    return Lesson(
        task=TASK,
        turns=(plan,),
        alone=Attempt(text="Answer: 20", num_tokens=2, verdict=Verdict(score=alone, parsed=True)),
        approach=Utterance(text="I go from left to right.", num_tokens=2, finished=False),
        teaching=Utterance.of(plan),
        attempt=Attempt(text="Answer: 14", num_tokens=2),
        score=Score(value=uplift, parts={"uplift": uplift}, reason=reason),
    )


def test_a_right_answer_is_a_success_with_full_reward() -> None:
    (session,) = sessions_from_lessons([lesson(alone=0.0, uplift=1.0)], learning_key="k")
    assert (session.status, session.score) == ("succeeded", 1.0)
    assert session.steps[0].guidance[0].note == "A = 3 * 4. B = 2 + A. Answer B."
    assert probed(session, "approach") == "I go from left to right."


def test_thoughts_are_recorded_and_the_guidance_is_what_was_shown() -> None:
    plain = lesson(alone=0.0, uplift=1.0)
    (turn,) = plain.turns
    shown = replace(plain.teaching, text="Add A.")
    thought = replace(plain, turns=(replace(turn, thoughts="20?"),), teaching=shown)
    for one, said in ((plain, None), (thought, f"<think>\n20?\n</think>\n\n{turn.text}")):
        (session,) = sessions_from_lessons([one], learning_key="k")
        assert session.steps[0].guidance[0].note == one.teaching.text
        assert (session.metadata or {}).get("teaching_said") == said


def test_a_leak_or_a_wrong_answer_is_a_failure_without_reward() -> None:
    leak = lesson(alone=0.0, uplift=0.0, reason="contains the answer 14")
    wrong = lesson(alone=1.0, uplift=-1.0)
    for session in sessions_from_lessons([leak, wrong], learning_key="k"):
        assert (session.status, session.score) == ("failed", 0.0)


def test_a_session_comes_back_from_postgresql_with_its_task(empty_db_url: str) -> None:
    sessions = sessions_from_lessons([lesson(alone=0.0, uplift=1.0)], learning_key="mine")
    write_sessions(empty_db_url, sessions)
    (read,) = PostgresTraceStore(empty_db_url).sessions(SessionQuery(learning_key="mine"))
    assert task_of(read) == TASK
    assert [event.event["phase"] for event in read.trajectory_events or ()] == [
        "baseline",
        "probe",
        "teach",
        "attempt",
    ]
    assert [
        (event.event["finish_reason"], event.event["policy_version"])
        for event in read.trajectory_events or ()
    ] == [("stop", 0), ("length", 0), ("stop", 7), ("stop", 0)]


def test_a_session_without_a_reference_answer_has_no_task() -> None:
    (session,) = sessions_from_lessons([lesson(alone=0.0, uplift=1.0)], learning_key="k")
    bare = type(session)(task=session.task)
    assert task_of(bare) is None


@pytest.mark.parametrize("recorded", ["a task", {"answer": "7"}, {"answer": 7, "family": "x"}])
def test_another_program_s_field_of_that_name_is_no_task(recorded: object) -> None:
    assert task_of(Session(task="1 + 2", metadata={"task": recorded})) is None
