"""Reading answers, and the scorers of the families."""

from __future__ import annotations

import pytest

from atlas.rewards.verifiers import (
    Verdict,
    accepts_reference,
    outcome,
    read_answer,
    says_the_same,
    verify,
)
from atlas.types import REFERENCE, Completion, Task

LEGS = Task(question="How many legs?", answer="14", family="leg_counting")
SUM = Task(question="1000 + 0 =", answer="1000", family="chain_sum")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("A = 2 + 3 = 5. Answer: 5", "5"),
        ("Answer: 5.", "5"),
        ("ANSWER:-5", "-5"),
        ("Answer:\t0.5", "0.5"),
        ("Answer: .5", ".5"),
        ("answer: 5 legs. ", "5 legs"),
        ("Answer: 6. No, that is wrong. Answer: 5.", "5"),
        ("Answer: 6\nNo.\nAnswer: 5\nThat is all.", "5"),
        ("Answer: 5. Answer:", "5"),
        ("**Answer:** 5", "5"),
        ("Answer: **5**.", "5"),
        ("Answer: $5$", "5"),
        ("Answer: x = 2, y = 3", "x = 2, y = 3"),
        ("5", None),
        ("The answer is 5", None),
        ("Answer:", None),
        ("Answer: .", None),
        ("", None),
    ],
)
def test_reading_an_answer(text: str, answer: str | None) -> None:
    assert read_answer(text) == answer


@pytest.mark.parametrize(
    ("task", "text", "verdict"),
    [
        (LEGS, "Answer: 14", Verdict(score=1.0, parsed=True)),
        (LEGS, "Answer: 15", Verdict(score=0.0, parsed=True)),
        (LEGS, "Answer: 15. Answer: 14", Verdict(score=1.0, parsed=True)),
        (LEGS, "Answer: 14. Answer: 15", Verdict(score=0.0, parsed=True)),
        # reasoning-gym gives the share of the text that is the answer
        (LEGS, "Answer: 14 legs", Verdict(score=2 / 7, parsed=True)),
        (LEGS, "It is 14.", Verdict(score=0.0, parsed=False)),
        # chain_sum has a scorer of its own, which reads numbers; leg_counting compares texts
        (SUM, "Answer: +1,000.00", Verdict(score=1.0, parsed=True)),
        (LEGS, "Answer: 14.0", Verdict(score=0.5, parsed=True)),
    ],
)
def test_verdicts(task: Task, text: str, verdict: Verdict) -> None:
    found = verify(task, text)
    assert (found.score, found.parsed) == (pytest.approx(verdict.score), verdict.parsed)
    assert found.correct is (verdict.score == 1.0)


def test_partial_credit_is_not_a_right_answer() -> None:
    assert not Verdict(score=0.99, parsed=True).correct
    assert Verdict(score=1.0, parsed=True).correct


def test_the_scorer_sees_the_metadata() -> None:
    """Any expression of the game 24 that uses the numbers of the task is right."""
    task = Task(
        question="Make 24 of 1, 2, 3, 4.",
        answer="1*2*3*4",
        family="countdown",
        metadata={"numbers": [1, 2, 3, 4], "target": 24},
    )
    assert verify(task, "Answer: (1 + 2 + 3) * 4").correct
    assert not verify(task, "Answer: 6 * 4").correct


def test_outcome_of_a_completion() -> None:
    completion = Completion(
        prompt_ids=(1,),
        token_ids=(5, 6, 7),
        logprobs=(0.0, 0.0, 0.0),
        text="Answer: 14",
        finish_reason="length",
    )
    found = outcome(LEGS, completion)
    assert (found.text, found.correct, found.parsed) == ("Answer: 14", True, True)
    assert (found.num_tokens, found.finished) == (3, False)


@pytest.mark.parametrize(
    ("answer", "reference", "same"),
    [
        ("Paris", " paris. ", True),
        ("the  red\nhouse", "The red house", True),
        ("Paris, France", "Paris", False),
        ("1,200", "1200.0", True),
        ("1,2", "12", False),
        ("+7", "7", True),
        ("7/2", "3.5", True),
        ("14/4", "7 / 2", True),
        ("1/0", "1/0", True),
        ("1/0", "2/0", False),
        (r"$\boxed{12}$", "12", True),
        ("\u221212", "-12", True),
        ("12", "-12", False),
        ("12 km", "12", False),
        ("", "0", False),
    ],
)
def test_answers_that_say_the_same(answer: str, reference: str, same: bool) -> None:
    assert says_the_same(answer, reference) is same
    assert says_the_same(reference, answer) is same


def test_a_task_of_no_family_is_held_against_its_reference() -> None:
    task = Task(question="How far?", answer="1200", family=REFERENCE)
    assert verify(task, "So. Answer: 1,200.") == Verdict(score=1.0, parsed=True)
    assert verify(task, "So. Answer: 1,200 m.") == Verdict(score=0.0, parsed=True)
    assert verify(task, "It is 1200.") == Verdict(score=0.0, parsed=False)


@pytest.mark.parametrize("family", [REFERENCE, "billing"])
def test_a_label_of_the_user_s_is_no_family_and_leaves_it_to_the_reference(
    family: str,
) -> None:
    task = Task(question="Capital of France?", answer="Paris", family=family)
    assert verify(task, "I think so. Answer: paris.") == Verdict(score=1.0, parsed=True)
    assert verify(task, "Answer: London") == Verdict(score=0.0, parsed=True)
    assert verify(task, "Paris") == Verdict(score=0.0, parsed=False)


def test_a_task_that_its_own_verifier_refuses_is_told() -> None:
    assert accepts_reference(LEGS) is None
    assert accepts_reference(Task(question="q", answer="Paris", family=REFERENCE)) is None
    numbers = {"numbers": [1, 2, 3, 4], "target": 24}
    refused = Task(question="Make 24.", answer="4 * 6", family="countdown", metadata=numbers)
    assert accepts_reference(refused) == "the verifier of family 'countdown' refuses its own answer"
    bare = Task(question="Solve it.", answer="1", family="sudoku")
    assert accepts_reference(bare) == "the verifier of family 'sudoku' fails: KeyError: 'solution'"
