"""What a recorded session says besides its dialogue."""

from __future__ import annotations

from typing import Any

from tests.unit.data.sources.recorded import recorded, recorded_by_sdk

from atlas.data.recorded import (
    FACTS,
    RECORDED,
    facts_in,
    judged,
    recorded_of,
    shown_in,
    shown_of,
    worth_of,
)
from atlas.session import JudgeVerdict, SessionReward, Step, StepEvaluation
from atlas.types import Task


def test_what_the_sdk_knows_is_put_into_words() -> None:
    session = recorded_by_sdk(1)
    assert shown_of(session) == {
        "dossier": "A sum.\n- risk (high): It may guess.\n- terms: 2 (counted)",
        "persona": "student: Show your work.",
        "evidence": "It forgets carries.\nIt is quick.",
    }
    # Which session it is, the task itself says.
    facts = {name: recorded_of(session)[name] for name in FACTS if name != "session"}
    known = {"lane": "coach", "confidence": 0.4, "certified": True, "personas": "student"}
    assert facts == known
    two = [{"name": "critic"}, {"persona": "coach"}, {"persona": "critic"}, {"persona": None}, 7]
    assert recorded_of(recorded_by_sdk(1, personas_used=two))["personas"] == "coach, critic"


def test_what_is_not_there_or_has_another_shape_is_nothing() -> None:
    assert recorded_of(recorded(1)) == {}
    odd: dict[str, Any] = {"triage_dossier": {"risks": "many"}, "personas_used": 7}
    assert recorded_of(recorded_by_sdk(1, adaptive_summary=None, **odd)) == {}
    long = recorded_by_sdk(1, triage_dossier={"summary": "x" * 9000})
    assert len(shown_of(long)["dossier"]) == 2000


def test_a_task_keeps_it_in_its_metadata() -> None:
    kept = {RECORDED: {"session": "17", **recorded_of(recorded_by_sdk(1))}}
    task = Task(question="q", answer="1", family="f", metadata=kept)
    assert shown_in(task)["persona"] == "student: Show your work."
    assert facts_in(task) == {
        **{"session": "17", "lane": "coach", "personas": "student"},
        **{"confidence": 0.4, "certified": True},
    }
    plain = Task(question="q", answer="1", family="f", metadata={RECORDED: "somebody else's"})
    assert (shown_in(plain), set(facts_in(plain).values())) == ({}, {None})


def test_what_an_example_is_worth() -> None:
    def step(number: int, valid: object) -> Step:
        return Step(id=number, evaluation=StepEvaluation(validation={"valid": valid}))

    session = recorded(
        1, reward=SessionReward(score=0.9), steps=(step(1, True), step(2, False), step(3, "odd"))
    )
    assert worth_of(session) == {"reward": 0.9, "validation": 0.5}
    assert worth_of(recorded(1, reward=None)) == {"reward": 1.0, "validation": 1.0}


def test_a_judge_that_said_nothing_passes_no_bound() -> None:
    judges = (JudgeVerdict(identifier="helpfulness", score=0.7),)
    session = recorded(1, reward=SessionReward(score=1.0, judges=judges))
    assert judged(session, {"helpfulness": 0.7})
    assert not judged(session, {"helpfulness": 0.71})
    assert not judged(session, {"process": 0.1})
    assert judged(recorded(1), {})
