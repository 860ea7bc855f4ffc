"""Where the reference answer of a session comes from, and which one counts."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.data.sources.recorded import recorded

from atlas.data.sources.references import LONGEST, find_reference
from atlas.session import Session, Step
from atlas.types import REFERENCE, Task


def task_in(session: Session, *, trusted: bool = True) -> Task | None:
    found = find_reference(session, "7", trusted=trusted)
    return found.task if found else None


def test_a_recorded_task_keeps_its_verifier_however_the_session_went() -> None:
    session = recorded(
        7,
        good=False,
        metadata={
            "task": {"answer": "8", "family": "chain_sum", "metadata": {"difficulty": 1}},
            "ground_truth": "9",
        },
    )
    assert task_in(session, trusted=False) == Task(
        question="Calculate 7 + 1.", answer="8", family="chain_sum", metadata={"difficulty": 1}
    )


def test_a_family_that_has_no_verifier_here_is_held_against_its_answer() -> None:
    session = recorded(7, metadata={"task": {"answer": "8", "family": "house_rules"}})
    assert task_in(session) == Task(question="Calculate 7 + 1.", answer="8", family=REFERENCE)


@pytest.mark.parametrize(
    ("metadata", "step_metadata", "answer"),
    [
        ({"ground_truth": " 8 "}, {}, "8"),
        ({"ground_truth": 8}, {}, "8"),
        ({"expected_answer": "eight"}, {"ground_truth": "9"}, "eight"),
        ({}, {"reference_answer": 8.5}, "8.5"),
        (None, {"ground_truth": "8"}, "8"),
        ({"ground_truth": True}, {}, None),
        ({"ground_truth": ""}, {}, None),
        ({"ground_truth": ["8"]}, None, None),
    ],
)
def test_a_ground_truth_counts_however_the_session_went(
    metadata: Any, step_metadata: Any, answer: str | None
) -> None:
    session = recorded(
        7, good=False, metadata=metadata, steps=(Step(id=1, metadata=step_metadata),)
    )
    found = task_in(session, trusted=False)
    assert (found.answer if found else None) == answer
    assert found is None or (found.family, found.metadata) == (REFERENCE, {})


@pytest.mark.parametrize(
    ("final", "answer"),
    [
        ("So it is. **Answer:** 8.", "8"),
        ("Paris", "Paris"),
        ("x" * LONGEST, "x" * LONGEST),
        (f"{'x' * 300} Answer: 8", "8"),
        ("", None),
        (None, None),
    ],
)
def test_the_final_answer_of_a_good_session_is_believed_and_marked(
    final: str | None, answer: str | None
) -> None:
    session = recorded(7, final_answer=final, metadata={})
    found = task_in(session)
    assert (found.answer if found else None) == answer
    assert found is None or found.metadata == {"reference_from": "final answer of session 7"}
    assert task_in(session, trusted=False) is None


def test_a_final_answer_that_nobody_could_repeat_says_so() -> None:
    found = find_reference(
        recorded(7, final_answer="x" * (LONGEST + 1), metadata={}), "7", trusted=True
    )
    assert found is not None
    assert (found.task, found.unusable) == (
        None,
        "tasks whose final answer has more than 200 characters",
    )


def test_the_better_reference_has_the_higher_rank() -> None:
    """Kind before reward, reward before place; 10 comes after 9."""
    long = recorded(1, final_answer="x" * (LONGEST + 1), metadata={})
    ordered = [
        (long, "99"),
        (recorded(1, metadata={}, reward=None), "99"),
        (recorded(1, metadata={}), "9"),
        (recorded(1, metadata={}), "10"),
        (recorded(1, good=False, metadata={"ground_truth": "2"}), "1"),
        (recorded(1, good=False), "1"),
    ]
    found = [find_reference(session, key, trusted=True) for session, key in ordered]
    ranks = [reference.rank for reference in found if reference]
    assert len(ranks) == len(ordered)
    assert ranks == sorted(set(ranks))
