"""reasoning-gym's scorers: in a jail, the same scores as without, and no answer runs as code."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reasoning_gym import get_score_answer_fn, utils
from reasoning_gym.dataset import ProceduralDataset
from reasoning_gym.factory import DATASETS

from atlas.rewards.verifiers import reasoning
from atlas.rewards.verifiers.jailed import Reply
from atlas.rewards.verifiers.reasoning import PURE, reasoning_verdicts, scores_in_process
from atlas.types import Task

NOT_DRAWN = {"composite": "is made of other families, and has none by default"}
EVALUATING = ["string_insertion", "spiral_matrix", "binary_matrix", "countdown", "puzzle24"]
EVALUATING += ["polynomial_multiplication", "simple_integration", "intermediate_integration"]
ATTACKS = [
    "open('ran','w').write('x')",
    "exit()",
    "__import__('os')._exit(0)",
    "9**9**9**9",
    "factorial(10**8)",
    "().__class__.__base__.__subclasses__()",
    "setattr(__import__('math'), 'isfinite', lambda _: True)",
    "'a' * 10**10",
    "a" * 1_000_000,
    "(" * 1_000_000,
    "\ud800",
    "x\0y",
]


def drawn(family: str, seed: int = 3) -> Task:
    data, config = DATASETS[family]
    entry = data(config=config(size=1, seed=seed))[0]
    return Task(
        question=entry["question"],
        answer=str(entry["answer"]),
        family=family,
        metadata=entry["metadata"],
    )


def test_every_family_scores_in_the_jail_as_it_does_without() -> None:
    tasks, answers, expected = [], [], []
    for family in DATASETS.keys() - NOT_DRAWN.keys():
        task = drawn(family)
        score = get_score_answer_fn(family)
        for answer in (task.answer, f"{task.answer} 0", "3/4"):
            try:
                expected.append(score(answer, reasoning._entry(task)))
            except ValueError as error:
                expected.append(f"ValueError: {error}")
            tasks.append(task)
            answers.append(answer)
    found = reasoning._score_jailed(list(zip(tasks, answers, strict=True)))
    told = [one.failed or one.starved or one.value for one in found]
    assert told == expected
    assert sum(score == 1.0 for score in expected) > 100


@pytest.mark.parametrize(
    ("answer", "integrand"),
    [
        ("x**3/3 + C", "x**2"),
        ("sin(x)**2 + cos(x)**2", "0"),
        ("log(x)*exp(x)/sqrt(x)", "exp(x)*(log(x) + 1/x - log(x)/(2*x))/sqrt(x)"),
        ("atan(x) + asin(x)", "1/(1 + x**2) + 1/sqrt(1 - x**2)"),
    ],
)
def test_sympy_needs_nothing_in_the_jail_that_it_has_not_got(answer: str, integrand: str) -> None:
    metadata = {"variable": "x", "integrand": integrand}
    task = Task(question="?", answer="", family="intermediate_integration", metadata=metadata)
    assert reasoning._score_jailed([(task, answer)]) == [Reply(value=1.0)]


def test_no_answer_runs_as_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tasks, texts = [], []
    for family in EVALUATING:
        task = drawn(family)
        tasks += [task] * (len(ATTACKS) + 1)
        texts += [*ATTACKS, task.answer]
    verdicts = reasoning_verdicts(tasks, texts)
    each = len(ATTACKS) + 1
    assert {one.score for one in verdicts[len(ATTACKS) :: each]} == {1.0}
    wrong = [one for place, one in enumerate(verdicts) if place % each != len(ATTACKS)]
    assert all(one.score is not None and one.score < 0.1 and one.parsed for one in wrong)
    assert not list(tmp_path.iterdir())


def test_a_question_given_back_is_no_answer() -> None:
    metadata = {"variable": "x", "integrand": "x**2"}
    task = Task(question="?", answer="x**3/3", family="simple_integration", metadata=metadata)
    texts = ["x**3/3", "Integral(x**2, x)", "integrate(x**2, x)"]
    assert [one.score for one in reasoning_verdicts([task] * 3, texts)] == [1.0, 0.0, 0.0]


def test_a_scorer_that_fails_is_the_answer_s_fault_or_the_task_s() -> None:
    task = drawn("prime_factorization")
    wrong, right = reasoning_verdicts([task] * 2, ["x", task.answer])
    assert (wrong.score, wrong.parsed, right.score) == (0.0, True, 1.0)
    assert wrong.reason.startswith("the verifier of family 'prime_factorization' fails: ValueError")
    bare = Task(question="?", answer="1", family="sudoku")
    (unknown,) = reasoning_verdicts([bare], ["x"])
    assert (unknown.score, unknown.reason) == (
        None,
        "the verifier of family 'sudoku' fails: KeyError: 'solution'",
    )


def test_a_task_s_own_data_can_t_run_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    metadata = {"problem": "open('ran', 'w')"}
    task = Task(question="?", answer="0x1", family="bitwise_arithmetic", metadata=metadata)
    (found,) = reasoning_verdicts([task], ["0x1"])
    assert found.score == 0.0
    assert not list(tmp_path.iterdir())


def test_metadata_that_can_t_travel_is_named() -> None:
    task = Task(question="?", answer="1", family="sudoku", metadata={"solution": object()})
    (found,) = reasoning_verdicts([task], ["1"])
    assert found.score is None
    assert "its metadata can't be handed over: it holds a object" in found.reason


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1.5, -0.1, True, "1", None, [1]])
def test_a_score_is_a_number_from_0_to_1(value: object) -> None:
    assert reasoning._checked(Reply(value=value)).failed


def test_a_score_above_1_is_no_right_answer() -> None:
    """calendar_arithmetic's scorer gives e^x for a wrong answer where the right one is negative."""
    task = Task(
        question="?",
        answer="-3",
        family="calendar_arithmetic",
        metadata={"task": "count_business_days"},
    )
    right, wrong = reasoning_verdicts([task] * 2, ["-3", "-5"])
    assert (right.correct, wrong.correct, wrong.score) == (True, False, 0.0)


HARMLESS = {"isinstance", "len", "Decimal", "replace"}


def calls(function: Callable[..., Any]) -> set[str]:
    """Return the names of all that a function calls."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    assert not any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(tree))
    called = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {one.attr if isinstance(one, ast.Attribute) else ast.unparse(one) for one in called}


def test_pure_scorers_only_compare() -> None:
    assert calls(ProceduralDataset.score_answer) <= HARMLESS
    assert calls(utils.compute_decimal_reward) <= HARMLESS
    for family in PURE:
        assert calls(DATASETS[family][0].score_answer) == {"compute_decimal_reward"}
    assert calls(DATASETS["countdown"][0].score_answer) - HARMLESS  # so that the rule bites


def test_only_scorers_known_to_compare_stay_in_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [scores_in_process(name) for name in ("leg_counting", "chain_sum", "countdown")] == [
        *(True, True, False),
    ]
    monkeypatch.setattr(reasoning._worker, "ask", lambda items, **_: [1 / 0 for _ in items])
    tasks = [drawn(family) for family in ("basic_arithmetic", "leg_counting", "chain_sum")]
    found = reasoning_verdicts(tasks, [task.answer for task in tasks])
    assert all(one.correct for one in found)
    with pytest.raises(ZeroDivisionError):
        reasoning_verdicts([drawn("countdown")], ["1"])
