"""Which sessions give which examples."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.tiny_models import tiny_renderer, tiny_tokenizer

from atlas.data.chat import make_example
from atlas.data.sft import (
    Dialogue,
    dialogue_of,
    examples_of,
    probed,
    session_key,
)
from atlas.prompts.folder import shipped_prompts
from atlas.session import MISSING, AdaptiveSummary, GuidanceNote, Session, Step
from atlas.types import Tokens

PLAIN = shipped_prompts("plain")


def note(text: str, sequence: int = 1) -> GuidanceNote:
    return GuidanceNote(note=text, sequence=sequence)


def step(number: int, *notes: str) -> Step:
    guidance = tuple(note(text, i + 1) for i, text in enumerate(notes))
    return Step(id=number, guidance=guidance)


def session(*steps: Step, **fields: Any) -> Session:
    return Session(task="Calculate 1 + 2.", steps=steps, **fields)


def dialogues(*sessions: Session) -> list[Dialogue]:
    found = [dialogue_of(session) for session in sessions]
    return [dialogue for dialogue in found if isinstance(dialogue, Dialogue)]


def examples(*sessions: Session, max_length: int = 500) -> list[Tokens]:
    return examples_of(dialogues(*sessions), tiny_renderer(), max_length=max_length)


def teaching_example(note: str, source: str, approach: str = "") -> Tokens:
    """What a session of one step gave at all times: the prompt of the rollouts, then the note."""
    messages = PLAIN.render("teaching", task="Calculate 1 + 2.", approach=approach)
    return make_example(tiny_tokenizer(), messages, note, source=source)


def test_a_session_of_one_step_gives_its_last_note() -> None:
    taught = session(step(1, "Bad.", "A = 2."), id=4)
    assert examples(taught, session(step(1), id=5), session(id=6)) == [
        teaching_example("A = 2.", "4")
    ]


def test_all_that_the_teacher_wrote_is_learned_where_it_is_recorded() -> None:
    said = {"teaching_said": "<think>\nFour?\n</think>\n\nA = 2."}
    thought = session(step(1, "A = 2."), id=4, metadata=said)
    edited = session(step(1, "A = 3."), id=5, metadata=said)
    assert examples(thought, edited) == [
        teaching_example(said["teaching_said"], "4"),
        teaching_example("A = 3.", "5"),
    ]


def test_untaught_sessions_say_why_they_give_nothing() -> None:
    assert dialogue_of(session(step(1))) == "sessions without guidance"
    cut = session(step(1, "A ="), metadata={"teaching_finished": False})
    assert dialogue_of(cut) == "sessions whose teaching was cut"


def test_several_steps_are_one_dialogue() -> None:
    """Steps 1, 3 and 4 were taught, step 2 was not:

    user       the teaching prompt
    assistant  last note of step 1
    user       outputs of 1 and 2, description of 3
    assistant  note of step 3
    user       output of 3, description of 4
    assistant  note of step 4
    """
    first = Step(id=1, output="one", guidance=(note("Bad."), note("Do A.", 2)))
    between = Step(id=2, output="two")
    third = Step(id=3, description="Add.", output="three", guidance=(note("Do B."),))
    last = Step(id=4, description="Check.", output="four", guidance=(note("Do C."),))
    (dialogue,) = dialogues(session(first, between, third, last, id=4))
    (opening,) = PLAIN.render("teaching", task="Calculate 1 + 2.", approach="")
    asked = "Student: {}\nNext step: {}\nWrite a plan for this step, without the answer."
    assert dialogue.session == "4"
    assert dialogue.in_words(PLAIN) == [
        opening,
        {"role": "assistant", "content": "Do A."},
        {"role": "user", "content": asked.format("one\ntwo", "Add.")},
        {"role": "assistant", "content": "Do B."},
        {"role": "user", "content": asked.format("three", "Check.")},
        {"role": "assistant", "content": "Do C."},
    ]


def test_a_session_whose_first_step_was_not_taught_says_what_came_before() -> None:
    (dialogue,) = dialogues(session(Step(id=1, output="one"), step(2, "Do B.")))
    (opening,) = PLAIN.render("teaching", task="Calculate 1 + 2.", approach="")
    (follow_up,) = PLAIN.render("next_step", output="one", step="")
    assert dialogue.in_words(PLAIN) == [
        {"role": "user", "content": f"{opening['content']}\n{follow_up['content']}"},
        {"role": "assistant", "content": "Do B."},
    ]


@pytest.mark.parametrize(
    ("metadata", "num_examples"),
    [
        ({"teaching_finished": False}, 0),
        ({"teaching_finished": True}, 1),
        ({"teaching_finished": None}, 1),
        ({}, 1),
        (None, 1),
    ],
)
def test_a_teaching_that_was_cut_is_not_learned_from(metadata: Any, num_examples: int) -> None:
    assert len(examples(session(step(1, "A = 1."), metadata=metadata))) == num_examples


def test_the_teacher_reads_the_students_approach() -> None:
    summary = AdaptiveSummary(probe={"approach": "I go from left to right."})
    assert examples(session(step(1, "A = 1."), id=4, adaptive_summary=summary)) == [
        teaching_example("A = 1.", "4", approach="I go from left to right.")
    ]


@pytest.mark.parametrize(
    ("summary", "approach"),
    [
        (AdaptiveSummary(probe={"approach": "So."}), "So."),
        (AdaptiveSummary(probe={"approach": ["So."]}), ""),
        (AdaptiveSummary(probe={"evidence": "So."}), ""),
        (AdaptiveSummary(probe={}), ""),
        (AdaptiveSummary(probe=None), ""),
        (AdaptiveSummary(), ""),
        (None, ""),
        (MISSING, ""),
    ],
)
def test_an_approach_that_was_not_recorded_is_empty(summary: Any, approach: str) -> None:
    assert probed(session(adaptive_summary=summary), "approach") == approach


def test_long_examples_are_left_out_whole() -> None:
    whole = teaching_example("A = 1 + 2.", "4")
    taught = session(step(1, "A = 1 + 2."), id=4)
    assert examples(taught, max_length=len(whole.ids)) == [whole]
    assert examples(taught, max_length=len(whole.ids) - 1) == []


def test_a_session_is_named_by_its_number_or_else_its_task() -> None:
    assert session_key(session(id=0)) == "0"
    assert session_key(session()) == "task:Calculate 1 + 2."


def test_an_empty_note_is_no_teaching() -> None:
    taught = session(step(1, "A = 1 + 2.", "  "), step(2, ""))
    dialogue = dialogue_of(taught)
    assert isinstance(dialogue, Dialogue)
    said = dialogue.in_words(PLAIN)
    assert [m["content"] for m in said if m["role"] == "assistant"] == ["A = 1 + 2."]
    assert dialogue_of(session(step(1, ""))) == "sessions without guidance"
