"""The dual-agent loop with engines that write down what they were asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from tests.unit.tiny_models import tiny_tokenizer

from atlas.environments.teaching.dialogue import Student, Teacher, teach_and_attempt
from atlas.prompts import PromptKind
from atlas.prompts.chat import render_ids
from atlas.rollouts.generator import Prompt, Sampling
from atlas.types import Completion, Task

TASKS = [
    Task(question=f"Calculate {n} + 1.", answer=str(n + 1), family="chain_sum") for n in (4, 2, 3)
]


@dataclass
class FakeGenerator:
    """Answers "<name> <number of the prompt in this call>.<sample>", and keeps every call."""

    name: str
    calls: list[tuple[list[Prompt], Sampling, int, int]] = field(default_factory=list)

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        *,
        num_samples: int = 1,
        seed: int = 0,
        first_place: int = 0,
    ) -> list[list[Completion]]:
        self.calls.append((list(prompts), sampling, num_samples, seed))
        return [
            [self._completion(prompt, p, g) for g in range(num_samples)]
            for p, prompt in enumerate(prompts)
        ]

    def _completion(self, prompt: Prompt, p: int, g: int) -> Completion:
        return Completion(
            prompt_ids=tuple(prompt),
            token_ids=(7, 1),
            logprobs=(-0.1, -0.1),
            text=f"{self.name} {p}.{g}",
            finish_reason="stop",
        )

    @property
    def prompts(self) -> list[list[tuple[int, ...]]]:
        return [[tuple(prompt) for prompt in call[0]] for call in self.calls]


def ids(kind: PromptKind, **values: str) -> tuple[int, ...]:
    return tuple(render_ids(tiny_tokenizer(), kind, **values))


def make_student(generator: FakeGenerator, temperature: float = 0.0) -> Student:
    sampling = Sampling(max_new_tokens=50, temperature=temperature)
    return Student(generator, tiny_tokenizer(), sampling, approach_tokens=9)


def make_teacher(generator: FakeGenerator) -> Teacher:
    return Teacher(generator, tiny_tokenizer(), Sampling(max_new_tokens=20, temperature=1.0))


def test_baseline_and_approach_are_computed_once_per_task() -> None:
    generator = FakeGenerator("student")
    student = make_student(generator)

    first = student.alone([TASKS[0], TASKS[1], TASKS[0]], seed=5)
    again = student.alone([TASKS[1], TASKS[2], TASKS[0]], seed=6)
    student.alone(TASKS)

    def asked(kind: PromptKind, *tasks: Task) -> list[tuple[int, ...]]:
        return [ids(kind, task=task.question) for task in tasks]

    assert generator.prompts == [
        asked("baseline", TASKS[0], TASKS[1]),
        asked("approach", TASKS[0], TASKS[1]),
        asked("baseline", TASKS[2]),
        asked("approach", TASKS[2]),
    ]
    assert [call[1].max_new_tokens for call in generator.calls] == [50, 9, 50, 9]
    assert [call[3] for call in generator.calls] == [5, 5, 6, 6]
    assert first[0] is first[2] is again[2]
    assert first[1] is again[0]
    assert [a.baseline.prompt_ids for a in again] == [
        ids("baseline", task=TASKS[i].question) for i in (1, 2, 0)
    ]
    assert again[1].approach.prompt_ids == ids("approach", task=TASKS[2].question)


def test_a_group_shares_its_prompt_and_attempts_stand_beside_their_teachings() -> None:
    """Task p, teaching g: the teacher reads the approach to p, the student teaching p.g."""
    pupil, tutor = FakeGenerator("student"), FakeGenerator("teacher")
    groups = teach_and_attempt(
        make_teacher(tutor), make_student(pupil), TASKS, num_samples=2, seed=8
    )

    (teaching_call,) = tutor.calls
    assert tutor.prompts[0] == [
        ids("teaching", task=task.question, approach=f"student {p}.0")
        for p, task in enumerate(TASKS)
    ]
    assert teaching_call[1:] == (Sampling(max_new_tokens=20, temperature=1.0), 2, 8)
    assert [[pair.teaching.text for pair in group] for group in groups] == [
        [f"teacher {p}.{g}" for g in range(2)] for p in range(3)
    ]
    assert [[pair.attempt.prompt_ids for pair in group] for group in groups] == [
        [ids("attempt", task=task.question, teaching=f"teacher {p}.{g}") for g in range(2)]
        for p, task in enumerate(TASKS)
    ]
    assert len(pupil.calls) == 3
    assert pupil.calls[2][2:] == (1, 8)


def test_a_second_epoch_asks_the_student_for_attempts_only() -> None:
    pupil = FakeGenerator("student")
    student, teacher = make_student(pupil), make_teacher(FakeGenerator("teacher"))
    for seed in (1, 2):
        teach_and_attempt(teacher, student, TASKS, num_samples=2, seed=seed)
    assert [len(prompts) for prompts in pupil.prompts] == [3, 3, 6, 6]


@pytest.mark.parametrize(("temperature", "num_computed"), [(0.0, 2), (0.7, 6)])
def test_equal_prompts_are_computed_once_only_by_a_greedy_student(
    temperature: float, num_computed: int
) -> None:
    generator = FakeGenerator("student")
    student = make_student(generator, temperature)
    tasks = [TASKS[0], TASKS[1], TASKS[0], TASKS[0], TASKS[1], TASKS[1]]
    attempts = student.attempt(tasks, ["Multiply first."] * 6)
    assert [len(prompts) for prompts in generator.prompts] == [num_computed]
    assert [attempt.prompt_ids for attempt in attempts] == [
        ids("attempt", task=task.question, teaching="Multiply first.") for task in tasks
    ]
    if temperature:
        assert len({attempt.text for attempt in attempts}) == 6


def test_as_many_teachings_as_tasks_are_needed() -> None:
    with pytest.raises(ValueError, match="shorter"):
        make_student(FakeGenerator("student")).attempt(TASKS, ["one"])
