"""What every kind of student keeps to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.environments.scripted import Scripted, actor
from tests.unit.environments.students.kinds import DOWN, KINDS
from tests.unit.environments.students.kinds_acting import KINDS as ACTING
from tests.unit.tiny_models import tiny_renderer

from atlas.environments.rollout import roll_out
from atlas.environments.students.baselines import Baselines
from atlas.environments.students.student import Student
from atlas.environments.teaching.plan import PlanTeaching
from atlas.rewards.verifiers import verified
from atlas.types import Attempt, Lesson, Task

HARD = Task(question="Calculate 2 + 3 * 4.", answer="14", family="basic_arithmetic")
EASY = Task(question="An easy one: 2 * 7 =", answer="14", family="reference")
GONE = Task(question=f"{DOWN}: 2 * 7 =", answer="14", family="reference")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """The name of a kind."""
    return request.param


@pytest.fixture
def student(kind: str, tmp_path: Path) -> Iterator[Student]:
    """A student of each kind."""
    with KINDS[kind](tmp_path) as student:
        yield student


def test_attempts_stand_beside_their_tasks_and_teachings(student: Student) -> None:
    tasks, teachings = [HARD, EASY, HARD, HARD], [None, None, "Multiply first.", "Add."]
    attempts = verified(tasks, student.attempt(tasks, teachings))
    assert [one.correct for one in attempts] == [False, True, True, False]
    assert all(one.num_tokens > 0 and one.finished and not one.again for one in attempts)
    assert student.attempt([], []) == []


def test_as_many_teachings_as_tasks_are_needed(student: Student) -> None:
    with pytest.raises(ValueError, match="shorter"):
        student.attempt([HARD, EASY], ["one"])


def test_an_approach_a_task(student: Student, kind: str) -> None:
    said = [one.text for one in student.approach([HARD, EASY])]
    assert said == ["" if kind == "agent" else "I go from left to right."] * 2


def test_what_it_has_not_is_said(student: Student, kind: str) -> None:
    assert student.gains([HARD], ["Multiply."]) is None
    assert not student.has_likelihood
    assert student.waits is (kind != "model")


def test_a_group_is_taught_and_scored(student: Student) -> None:
    tutor = Scripted(lambda prompt: "Do 3 * 4 first: multiply." if "3 * 4" in prompt else "Go on.")
    environment = PlanTeaching(tiny_renderer(), Baselines(student))
    groups = roll_out(environment, actor(tutor), [HARD, EASY], num_samples=2, seed=1)
    (hard, _), (easy, _) = groups
    assert (hard.score.parts["uplift"], easy.score.parts["uplift"]) == (1.0, 0.0)
    assert isinstance(hard, Lesson)
    assert hard.attempt.text == "Answer: 14"
    metrics = environment.metrics(groups, 1)
    assert metrics["train/accuracy_taught"] == 1.0


@pytest.mark.parametrize("kind", ["endpoint", "agent"], indirect=True)
def test_one_that_gives_no_answer_abstains_and_is_no_zero(student: Student) -> None:
    """A model here always says something."""
    tasks = [EASY, GONE]
    alone, gone = verified(tasks, student.attempt(tasks, [None, None]))
    assert alone.correct
    assert gone.abstained
    assert gone.unverified == gone.abstained
    environment = PlanTeaching(tiny_renderer(), Baselines(student))
    groups = roll_out(environment, actor(Scripted(lambda _: "Go on.")), tasks, seed=1)
    assert [group[0].score.value is None for group in groups] == [False, True]
    metrics = student.metrics()
    assert metrics["student/abstention_rate"] == pytest.approx(0.5, abs=0.2)
    assert student.metrics()["student/calls"] == 0  # since the last time


@pytest.fixture(params=ACTING)
def acting(request: pytest.FixtureRequest) -> Iterator[Student]:
    """A student with a tool, of each kind and told of it in each way."""
    with ACTING[request.param]() as student:
        yield student


def test_one_with_tools_looks_and_answers_what_it_is_told(acting: Student) -> None:
    tasks, teachings = [HARD, HARD, EASY], [None, "Look into box 2.", "Look into box 2."]
    alone, taught, _ = verified(tasks, acting.attempt(tasks, teachings))
    assert (alone.correct, len(alone.turns)) == (False, 1)
    assert (taught.correct, taught.text, taught.finished) == (True, "Answer: 14", True)
    looked, answered = taught.turns
    (call,) = looked.calls
    assert (call.name, call.arguments) == ("look", '{"box": 2}')
    assert (call.result, call.failed) == ("there are 14 coins", False)
    assert answered.calls == ()
    assert taught.num_tokens == looked.num_tokens + answered.num_tokens > 0


def test_one_with_tools_goes_on_by_single_turns_with_guidance_between(acting: Student) -> None:
    (one,) = acting.go_on([HARD], ["Think."], [Attempt()], [""])
    assert len(one.turns) == 1
    (first,) = acting.go_on([HARD], ["Look into box 2."], [Attempt()], [""])
    (second,) = acting.go_on([HARD], ["Look into box 2."], [first], ["Now answer."])
    assert [turn.guidance for turn in second.turns] == ["", "Now answer."]
    assert second.text == "Answer: 14"


@pytest.mark.parametrize("kind", ACTING)
def test_one_that_never_answers_ends_at_its_last_turn(kind: str) -> None:
    task = Task(question="Don't answer.", answer="14", family="reference")
    with ACTING[kind](max_turns=3) as student:
        (attempt,) = verified([task], student.attempt([task], [None]))
    assert [len(turn.calls) for turn in attempt.turns] == [1, 1, 0]
    assert (attempt.finished, attempt.parsed) == (False, False)
