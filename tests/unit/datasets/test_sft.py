"""Which sessions give which examples, and on which side of the split."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.tiny_models import tiny_tokenizer

from atlas import prompts
from atlas.datasets.chat import Example, make_example
from atlas.datasets.sft import (
    examples_from_sessions,
    session_key,
    split_by_session,
    stated_approach,
)
from atlas.session import MISSING, AdaptiveSummary, GuidanceNote, Session, Step


def step(number: int, *notes: str) -> Step:
    guidance = tuple(GuidanceNote(note=note, sequence=i + 1) for i, note in enumerate(notes))
    return Step(id=number, guidance=guidance)


def session(*steps: Step, **fields: Any) -> Session:
    return Session(task="Calculate 1 + 2.", steps=steps, **fields)


def examples(*sessions: Session, max_length: int = 500) -> list[Example]:
    return examples_from_sessions(sessions, tiny_tokenizer(), max_length=max_length)


def teaching_example(note: str, source: str, approach: str = "") -> Example:
    messages = prompts.render("teaching", task="Calculate 1 + 2.", approach=approach)
    return make_example(tiny_tokenizer(), messages, note, source=source)


def test_every_taught_step_gives_its_last_note() -> None:
    taught = session(step(1, "A = 1."), step(2), step(3, "Bad.", "A = 2."), id=4)
    untaught = session(step(1), id=5)
    assert examples(taught, untaught, session(id=6)) == [
        teaching_example("A = 1.", "4"),
        teaching_example("A = 2.", "4"),
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
    assert stated_approach(session(adaptive_summary=summary)) == approach


def test_long_examples_are_left_out_whole() -> None:
    whole = teaching_example("A = 1 + 2.", "4")
    taught = session(step(1, "A = 1 + 2."), id=4)
    assert examples(taught, max_length=len(whole.ids)) == [whole]
    assert examples(taught, max_length=len(whole.ids) - 1) == []


def test_a_session_is_named_by_its_number_or_else_its_task() -> None:
    assert session_key(session(id=0)) == "0"
    assert session_key(session()) == "task:Calculate 1 + 2."


def test_no_session_is_on_both_sides_and_the_sides_never_change() -> None:
    all_of_them = [
        Example(ids=(number, copy), prompt_length=1, source=str(number))
        for copy in range(3)
        for number in range(1000)
    ]
    train, held = split_by_session(all_of_them, 0.1)
    assert not {e.source for e in train} & {e.source for e in held}
    assert sorted(e.ids for e in train + held) == sorted(e.ids for e in all_of_them)
    assert 80 < len({e.source for e in held}) < 120
    # A session keeps its side when others come or go, and a larger share only adds to it.
    assert split_by_session(all_of_them[500:700], 0.1)[1] == [
        e for e in all_of_them[500:700] if e in held
    ]
    assert set(held) <= set(split_by_session(all_of_them, 0.2)[1])
    # `printf 8 | sha256sum` begins with 2c62..., 0x2c/0x100 = 0.17 of the way; that of 9
    # with 1958..., 0.099 of the way.
    sources = [Example(ids=(1,), prompt_length=0, source=source) for source in ("8", "9")]
    assert split_by_session(sources, 0.1) == ([sources[0]], [sources[1]])


@pytest.mark.parametrize(("share", "num_held"), [(0.0, 0), (1.0, 20)])
def test_all_or_nothing_may_be_held_out(share: float, num_held: int) -> None:
    some = [Example(ids=(1,), prompt_length=0, source=str(i)) for i in range(20)]
    assert len(split_by_session(some, share)[1]) == num_held
