"""The scorers of the families, which verifier a task has, and by which rule it reads."""

from __future__ import annotations

import pytest

from atlas.errors import AtlasError
from atlas.rewards.verifiers import (
    Verdict,
    accepts_reference,
    verified,
    verify,
    verify_all,
)
from atlas.types import REFERENCE, Attempt, Completion, Task

LEGS = Task(question="How many legs?", answer="14", family="leg_counting")
SUM = Task(question="1000 + 0 =", answer="1000", family="chain_sum")


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


def test_a_completion_as_an_attempt_that_was_verified() -> None:
    completion = Completion(
        prompt_ids=(1,),
        token_ids=(5, 6, 7),
        logprobs=(0.0, 0.0, 0.0),
        text="Answer: 14",
        finish_reason="length",
    )
    (found,) = verified([LEGS], [Attempt.of(completion)])
    assert (found.text, found.correct, found.parsed) == ("Answer: 14", True, True)
    assert (found.num_tokens, found.finished) == (3, False)


def test_a_task_names_its_verifier_by_family_or_by_metadata() -> None:
    asked = Task(question="?", answer="60 mph", family="numeric")
    assert verify(asked, "Answer: 60 miles per hour").correct
    own = Task(question="?", answer="60 mph", family="speeds", metadata={"verifier": "numeric"})
    assert verify(own, "Answer: 60 miles per hour").correct


def test_an_unknown_verifier_is_named_with_the_nearest() -> None:
    task = Task(question="?", answer="1", family="speeds", metadata={"verifier": "numerics"})
    with pytest.raises(AtlasError, match="called 'numerics'; did you mean 'numeric'"):
        verify(task, "Answer: 1")


def test_an_abstention_is_no_right_answer_and_says_why() -> None:
    task = Task(question="?", answer="(", family="regex")
    (found,) = verified([task], [Attempt(text="Answer: (")])
    assert not found.correct
    assert found.unverified.startswith("the task's pattern '(' is no regular expression")


def test_an_attempt_that_abstained_is_never_a_wrong_one() -> None:
    down = Attempt(text="", abstained="the endpoint is down")
    first, second = verified([LEGS, LEGS], [down, Attempt(text="Answer: 14")])
    assert (first.verdict.score, first.unverified) == (None, "the endpoint is down")
    assert second.correct


def test_slow_verifiers_run_side_by_side_in_the_order_of_the_answers() -> None:
    tests = {"tests": "assert f() == 1", "time_limit": 20.0}
    tasks = [Task(question="?", answer="", family="python_tests", metadata=tests)] * 4
    texts = [f"```python\ndef f(): return {n % 2}\n```" for n in range(4)]
    assert [verdict.score for verdict in verify_all(tasks, texts)] == [0.0, 1.0, 0.0, 1.0]


@pytest.mark.parametrize("family", [REFERENCE, "billing"])
def test_a_label_of_the_user_s_is_no_family_and_leaves_it_to_the_reference(
    family: str,
) -> None:
    task = Task(question="Capital of France?", answer="Paris", family=family)
    assert verify(task, "I think so. Answer: paris.") == Verdict(
        score=1.0, parsed=True, rule="answer"
    )
    wrong = Verdict(score=0.0, parsed=True, rule="answer")
    assert verify(task, "Answer: London") == wrong
    unread = verify(task, "Paris")
    assert (unread.score, unread.parsed) == (0.0, False)


def test_a_task_that_its_own_verifier_refuses_is_told() -> None:
    assert accepts_reference(LEGS) is None
    assert accepts_reference(Task(question="q", answer="Paris", family=REFERENCE)) is None
    numbers = {"numbers": [1, 2, 3, 4], "target": 24}
    refused = Task(question="Make 24.", answer="4 * 6", family="countdown", metadata=numbers)
    assert accepts_reference(refused) == "the verifier of family 'countdown' refuses its own answer"
    bare = Task(question="Solve it.", answer="1", family="sudoku")
    assert accepts_reference(bare) == "the verifier of family 'sudoku' fails: KeyError: 'solution'"


def test_a_rule_has_no_answer_to_be_checked() -> None:
    assert accepts_reference(Task(question="q", answer="[0-9]+", family="regex")) is None
    named = Task(question="q", answer="1", family="x", metadata={"verifier": "nmeric"})
    assert "called 'nmeric'; did you mean 'numeric'" in str(accepts_reference(named))


def test_the_format_of_answers_is_the_task_s_else_the_run_s() -> None:
    text = "Answer: 4\n\\boxed{5}\n6"
    task = Task(question="?", answer="5", family="numeric")
    assert not verify(task, text).correct
    assert verify(task, text, "boxed") == Verdict(score=1.0, parsed=True, rule="boxed")
    own = Task(question="?", answer="6", family="numeric", metadata={"answer_format": "last_line"})
    assert verify(own, text, "boxed").rule == "last_line"
    assert accepts_reference(own) is None
    wrong = Task(question="?", answer="6", family="numeric", metadata={"answer_format": "boxes"})
    assert verify(wrong, text).score is None
    assert "must be one of auto, answer" in str(accepts_reference(wrong))
    (found,) = verified([task], [Attempt.of(said(text))], "boxed")
    assert (found.correct, found.verdict.rule) == (True, "boxed")


def said(text: str) -> Completion:
    return Completion(
        prompt_ids=(1,), token_ids=(5,), logprobs=(0.0,), text=text, finish_reason="stop"
    )
