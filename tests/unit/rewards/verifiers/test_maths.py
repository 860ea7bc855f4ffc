"""Mathematical equality by math-verify, from any thread, and never for ever."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from atlas.rewards.verifiers import maths
from atlas.rewards.verifiers.maths import math_verdict
from atlas.types import Task


def score(reference: str, answer: str, *, said: str = "So. Answer: ") -> float | None:
    task = Task(question="?", answer=reference, family="math")
    return math_verdict(task, said + answer).score


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        ("1/2", r"\frac{1}{2}"),
        (r"\frac{1}{2}", "$0.5$"),
        (r"\{1,2,3\}", r"\{3, 1, 2\}"),
        (r"2\sqrt{3}", r"\sqrt{12}"),
        ("x^2+2x+1", "(x+1)^2"),
        ("(1,2]", r"$(1, 2]$"),
        ("5", "x=5"),
        ("1000", r"1\,000"),
        ("1000", "1,000"),
        ("3", "three"),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1 & 2\\ 3 & 4\end{pmatrix}"),
    ],
)
def test_equal(reference: str, answer: str) -> None:
    assert score(reference, answer) == 1.0


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        ("1/2", "1/3"),
        ("(1,2]", "[1,2)"),
        (r"\{1,2\}", r"\{1,2,3\}"),
        ("5", "5 or 6"),
        ("5", "6, 5"),
        ("5", "5; 6"),
        ("5", "either"),
        ("5", "9" * 3000),
    ],
)
def test_unequal(reference: str, answer: str) -> None:
    assert score(reference, answer) == 0.0


def test_a_boxed_answer_is_read_where_no_other_is_given() -> None:
    text = r"So \boxed{3} or rather $\boxed{\frac{1}{\sqrt{4}}}$."
    assert score("0.5", text, said="") == 1.0
    assert score("3", text, said="") == 0.0
    assert score("3", r"\boxed{3", said="") == 0.0


def test_any_thread_may_ask_and_answers_are_not_mixed_up() -> None:
    pairs = [(str(n), rf"\frac{{{2 * n}}}{{2}}") for n in range(12)]
    with ThreadPoolExecutor(6) as pool:
        right = list(pool.map(lambda pair: score(*pair), pairs))
        wrong = list(pool.map(lambda pair: score(f"{pair[0]}1", pair[1]), pairs))
    assert right == [1.0] * 12
    assert wrong == [0.0] * 12


def test_a_reference_that_is_no_mathematics_says_nothing_about_the_answer() -> None:
    assert score("???", "5") is None


def test_a_comparison_without_end_is_an_abstention(monkeypatch: pytest.MonkeyPatch) -> None:
    assert score("2", r"\frac{4}{2}") == 1.0  # the process is up
    monkeypatch.setattr(maths, "TIME_LIMIT", 0.0)
    assert score("10", "9^{9^{9^{9}}}") is None
