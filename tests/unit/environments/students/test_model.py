"""A model as a student: its prompts, and what is computed once."""

from __future__ import annotations

import pytest
from tests.unit.environments.scripted import Scripted, actor
from tests.unit.environments.students.kinds_acting import acting, said, template, tool_renderer
from tests.unit.tiny_models import tiny_renderer

from atlas.environments.students.model import ModelStudent
from atlas.prompts import PromptKind
from atlas.types import Task

TASKS = [
    Task(question=f"Calculate {n} + 1.", answer=str(n + 1), family="chain_sum") for n in (4, 2, 3)
]


def ids(kind: PromptKind, **values: str) -> tuple[int, ...]:
    return tuple(tiny_renderer().prompt(kind, **values))


def test_it_is_asked_alone_with_a_teaching_and_for_its_approach() -> None:
    engine = Scripted(lambda prompt: str(len(prompt)))
    student = ModelStudent(actor(engine), approach_tokens=9)
    attempts = student.attempt(TASKS[:2], [None, "Add."], seed=5)
    student.approach(TASKS[2:], seed=6)
    assert [call.prompts for call in engine.calls] == [
        [
            ids("baseline", task=TASKS[0].question),
            ids("attempt", task=TASKS[1].question, teaching="Add."),
        ],
        [ids("approach", task=TASKS[2].question)],
    ]
    assert [call.sampling.max_new_tokens for call in engine.calls] == [50, 9]
    assert [call.seed for call in engine.calls] == [5, 6]
    assert attempts[0].text != attempts[1].text
    assert student.gains(TASKS[:1], ["Add."]) is None  # nobody gave it likelihoods


@pytest.mark.parametrize(("temperature", "num_computed"), [(0.0, 2), (0.7, 6)])
def test_equal_prompts_are_computed_once_only_by_a_greedy_student(
    temperature: float, num_computed: int
) -> None:
    engine = Scripted(lambda prompt: next(n for n in "423" if f"late {n}" in prompt))
    student = ModelStudent(actor(engine, temperature))
    tasks = [TASKS[0], TASKS[1], TASKS[0], TASKS[0], TASKS[1], TASKS[1]]
    attempts = student.attempt(tasks, ["Multiply first."] * 6)
    assert [len(call.prompts) for call in engine.calls] == [num_computed]
    texts = [attempt.text for attempt in attempts]
    assert texts[0] == texts[2] == texts[3] != texts[1] == texts[4] == texts[5]


def test_as_many_teachings_as_tasks_are_needed() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ModelStudent(actor(Scripted(str))).attempt(TASKS, ["one"])


def test_a_template_that_knows_tools_is_told_of_them_and_text_in_calls_is_no_mark() -> None:
    assert tool_renderer().knows_tools
    assert not tiny_renderer().knows_tools
    with template() as student:
        student.attempt(TASKS[:1], ["Look into box 2."])
        assert isinstance(student, ModelStudent)
        engine = student.actor.generator
    assert isinstance(engine, Scripted)
    first, second = (decoded(call.prompts[0]) for call in engine.calls)
    assert '<tools>[{"type": "function", "function": {"name": "look"' in first
    assert '<call>{"name": "look", "arguments": {"box": 2}}</call>' in second
    assert "[tool]there are 14 coins" in second


def test_an_attempt_without_room_for_another_turn_ends_without_an_answer() -> None:
    wide = Scripted(said)
    ModelStudent(actor(wide), acting=acting()).attempt(TASKS[:1], ["Look into box 2."])
    second = len(wide.calls[1].prompts[0])
    student = ModelStudent(actor(Scripted(said), window=second + 49), acting=acting())
    (attempt,) = student.attempt(TASKS[:1], ["Look into box 2."])
    student.close()
    assert [len(turn.calls) for turn in attempt.turns] == [1, 0]
    assert (attempt.text, attempt.finished) == ("", False)


def decoded(prompt: tuple[int, ...]) -> str:
    return str(tiny_renderer().tokenizer.decode(list(prompt)))
