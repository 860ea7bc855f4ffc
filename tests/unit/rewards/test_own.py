"""A reward of the user's own: allowed or not, right or wrong, and what it may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas.errors import AtlasError
from atlas.rewards.own import load_reward
from atlas.types import Attempt, Lesson, Task, Utterance

TASK = Task(question="Calculate 2 + 3.", answer="5", family="chain_sum")
LESSON = Lesson(
    task=TASK,
    alone=Attempt(text="before"),
    approach=Utterance(text="how"),
    teaching=Utterance(text="Add them."),
    attempt=Attempt(text="Answer: 5"),
)
CODE = """
import numpy, torch
from decimal import Decimal
from atlas.types import Score

def exact(task, answer): return float(answer.endswith(task.answer))
def whole(task, answer): return 1
def long(answer, teaching, baseline, approach): return len(teaching + baseline + approach) / 10
def silent(task, answer): return None
def full(task, answer): return Score(value=0.5, parts={"style": 0.25}, reason="fine")
def unsure(task, answer): return Score(value=None, reason="too dark")
def nan(task, answer): return float("nan")
def infinite(task, answer): return float("inf")
def text(task, answer): return "good"
def odd_part(task, answer): return Score(value=1.0, parts={"style": float("nan")})
def broken(task, answer): return 1 / 0
def greedy(task, answer, everything): return 1
def nothing(): return 1
def optional(task, answer, scale=2.0): return scale
number = 3
def huge(task, answer): return 10**400
def very_huge(task, answer): return 10**5000
def listed(task, answer): return [0.5]
def exits(task, answer): raise SystemExit(0)
def long_error(task, answer): raise ValueError("first\\nsecond")
def half(task, answer): return numpy.float32(0.5)
def truth(task, answer): return numpy.bool_(True)
def tensor(task, answer): return torch.tensor(0.25)
def many(task, answer): return torch.tensor([0.25, 0.5])
def decimal(task, answer): return Decimal("0.5")
def everything(**given): return len(given)
def odd_name(**given): return given["nothing"]
async def later(task, answer): return 1.0
def bit_by_bit(task, answer): yield 1.0
def odd_score(task, answer): return Score(value="0.5")
def score_of_parts(task, answer): return Score(value=1, parts={"style": numpy.float64(0.5)})
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module in the working directory, as users have theirs."""
    monkeypatch.chdir(tmp_path)
    Path("my_rewards.py").write_text(CODE)
    monkeypatch.delitem(__import__("sys").modules, "my_rewards", raising=False)


def value(function: str) -> float | None:
    name = f"my_rewards.{function}"
    (score,) = load_reward(name, [name])([LESSON])
    return score.value


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("exact", 1.0),
        ("whole", 1.0),
        ("long", 1.8),
        ("silent", None),
        ("full", 0.5),
        ("unsure", None),
        ("optional", 2.0),
        ("half", 0.5),
        ("truth", 1.0),
        ("tensor", 0.25),
        ("decimal", 0.5),
        ("everything", 5.0),
        ("score_of_parts", 1.0),
    ],
)
def test_what_it_may_take_and_say(function: str, expected: float | None) -> None:
    assert value(function) == expected


def test_a_score_keeps_its_parts_and_reason() -> None:
    (score,) = load_reward("my_rewards.full", ["my_rewards.full"])([LESSON])
    assert (score.parts, score.reason) == ({"style": 0.25}, "fine")


@pytest.mark.parametrize(
    "function",
    ["nan", "infinite", "text", "odd_part", "huge", "very_huge", "listed", "many", "odd_score"],
)
def test_what_is_no_score_is_refused_with_function_and_task(function: str) -> None:
    with pytest.raises(AtlasError) as caught:
        value(function)
    assert f"reward_function 'my_rewards.{function}' returned" in str(caught.value)
    assert f"task {TASK.id} ('Calculate 2 + 3.')" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("exits", "SystemExit: 0"),
        ("long_error", "ValueError: first second"),
        ("odd_name", "KeyError: 'nothing'"),
    ],
)
def test_whatever_it_raises_is_one_line(function: str, said: str) -> None:
    with pytest.raises(AtlasError, match=f"{said}$"):
        value(function)


def test_a_module_that_exits_ends_nothing() -> None:
    Path("script.py").write_text("raise SystemExit(0)\n")
    with pytest.raises(AtlasError, match=r"'script\.run' can't be imported: SystemExit: 0"):
        load_reward("script.run", ["script.run"])


def test_what_it_raises_names_function_and_task() -> None:
    with pytest.raises(AtlasError, match=rf"rewards.broken' failed on task {TASK.id} .*ZeroDiv"):
        value("broken")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("greedy", "must take some of task, answer, .*, not 'everything'"),
        ("nothing", "must take some of task, answer"),
        ("number", "is no function"),
        ("later", "must return its score: no async, no yield"),
        ("bit_by_bit", "must return its score: no async, no yield"),
        ("missing", "can't be imported: AttributeError"),
    ],
)
def test_what_is_no_reward_is_refused_before_the_training(function: str, message: str) -> None:
    with pytest.raises(AtlasError, match=message):
        value(function)


def test_nothing_is_imported_that_the_command_line_does_not_allow() -> None:
    Path("evil.py").write_text("open('ran', 'w')\ndef reward(task, answer): return 1\n")
    with pytest.raises(AtlasError, match=r"'allow_targets=\[evil.reward\]'"):
        load_reward("evil.reward", ["my_rewards.exact"])
    assert not Path("ran").exists()
