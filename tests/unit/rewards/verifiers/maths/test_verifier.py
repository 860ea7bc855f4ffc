"""Mathematical equality, from any thread, and never for ever."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from atlas.rewards.verifiers.jailed import Reply
from atlas.rewards.verifiers.maths import verifier
from atlas.rewards.verifiers.maths.verifier import math_verdicts
from atlas.types import Task


def score(reference: str, answer: str) -> float | None:
    return math_verdicts([Task(question="?", answer=reference, family="math")], [answer])[0].score


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


def test_any_thread_may_ask_and_answers_are_not_mixed_up() -> None:
    pairs = [(str(n), rf"\frac{{{2 * n}}}{{2}}") for n in range(12)]
    with ThreadPoolExecutor(6) as pool:
        right = list(pool.map(lambda pair: score(*pair), pairs))
        wrong = list(pool.map(lambda pair: score(f"{pair[0]}1", pair[1]), pairs))
    assert right == [1.0] * 12
    assert wrong == [0.0] * 12


def test_a_reference_that_is_no_mathematics_says_nothing_about_the_answer() -> None:
    assert score("???", "5") is None


def test_an_answer_that_takes_too_long_is_wrong_unless_the_reference_does_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verifier, "CPU_SECONDS", 1.0)
    slow = Task(question="?", answer="10", family="math")
    found = math_verdicts([slow], [r"\sin(e^{9^6})"])[0]
    assert (found.score, found.parsed) == (0.0, True)
    assert found.reason == "comparing the answer failed: it took more than 1 s"
    assert score(r"\sin(e^{9^6})", "5") is None
    assert score("2", r"\frac{4}{2}") == 1.0  # and the next one is compared


def test_many_answers_are_compared_in_one_call_in_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []
    ask = verifier._worker.ask

    def counted(items: list[tuple[str, str]], **settings: float) -> list[Reply]:
        calls.append(len(items))
        return ask(items, **settings)

    monkeypatch.setattr(verifier._worker, "ask", counted)
    tasks = [Task(question="?", answer=str(n % 3), family="math") for n in range(12)]
    answers = ["no answer", *[r"\sqrt{4}"] * 11]
    scores = [verdict.score for verdict in math_verdicts(tasks, answers)]
    assert scores == [float(n % 3 == 2) for n in range(12)]
    assert sum(1 for count in calls if count) == 1


@pytest.mark.parametrize(
    "answer",
    ["open('ran', 'w')", "exit()", "$__import__('os').system('true')$", "9**9**9**9", "\ud800"],
)
def test_an_answer_is_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert score("5", answer) == 0.0
    assert not list(tmp_path.iterdir())
