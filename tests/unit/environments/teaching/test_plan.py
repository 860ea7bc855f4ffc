"""Teaching by a plan, with engines that say what the test wants."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.environments.scripted import Scripted, actor
from tests.unit.tiny_models import tiny_renderer

from atlas.data.recorded import RECORDED
from atlas.environments.rollout import roll_out
from atlas.environments.students.baselines import Baselines
from atlas.environments.students.model import ModelStudent
from atlas.environments.teaching.plan import PlanTeaching
from atlas.errors import AtlasError
from atlas.prompts import PromptKind
from atlas.prompts.folder import shipped_prompts
from atlas.types import Lesson, Task

HARD = Task(question="Calculate 2 + 3 * 4.", answer="14", family="basic_arithmetic")
EASY = Task(question="Calculate 1 + 1 + 5.", answer="7", family="basic_arithmetic")


def student_says(prompt: str) -> str:
    """Right when told to multiply first, and on the easy task."""
    if "how will you" in prompt:
        return "I go from left to right."
    if "1 + 1 + 5" in prompt:
        return "Answer: 7"
    _, told, teaching = prompt.partition("Teacher:")
    return "Answer: 14" if told and "3 * 4" in teaching else "no idea"


def teacher_says(prompt: str) -> str:
    """A plan for the hard task, the bare answer for the easy one."""
    assert "I go from left to right." in prompt
    return "A = 3 * 4. B = 2 + A. Answer B." if "3 * 4" in prompt else "The answer is 7."


def lessons(pupil: Scripted, tutor: Scripted, *, seed: int = 8) -> list[tuple[Lesson, ...]]:
    baselines = Baselines(ModelStudent(actor(pupil)))
    environment = PlanTeaching(tiny_renderer(), baselines)
    for _ in range(2):  # the second time is a second epoch
        groups = roll_out(environment, actor(tutor), [HARD, EASY], num_samples=2, seed=seed)
    return groups


def test_a_lesson_says_what_happened() -> None:
    (hard, _), (easy, _) = lessons(Scripted(student_says), Scripted(teacher_says))
    assert (hard.task, hard.alone.correct, hard.alone.parsed) == (HARD, False, False)
    assert hard.approach.text == "I go from left to right."
    assert hard.teaching.text == hard.turns[0].text == "A = 3 * 4. B = 2 + A. Answer B. #0"
    assert hard.attempt.correct
    assert not hard.leaked
    assert hard.score.parts["uplift"] == 1.0
    assert easy.alone.correct
    assert easy.leaked
    assert easy.score.parts["uplift"] == -1.0


def test_a_group_shares_its_prompt_and_attempts_stand_beside_their_teachings() -> None:
    pupil, tutor = Scripted(student_says), Scripted(teacher_says)
    lessons(pupil, tutor)

    def ids(kind: PromptKind, task: Task, **values: str) -> tuple[int, ...]:
        return tuple(tiny_renderer().prompt(kind, task=task.question, **values))

    teaching = [ids("teaching", t, approach="I go from left to right.") for t in (HARD, EASY)]
    assert [call.prompts for call in tutor.calls] == [teaching] * 2
    assert [(call.num_samples, call.seed) for call in tutor.calls] == [(2, 8)] * 2
    plans = [(HARD, "A = 3 * 4. B = 2 + A. Answer B."), (EASY, "The answer is 7.")]
    attempts = [ids("attempt", t, teaching=f"{plan} #{g}") for t, plan in plans for g in range(2)]
    # Baselines and approaches are asked for in the first epoch only.
    assert [call.prompts for call in pupil.calls] == [
        [ids("baseline", HARD), ids("baseline", EASY)],
        [ids("approach", HARD), ids("approach", EASY)],
        attempts,
        attempts,
    ]


def test_held_out_lessons_are_measured_by_another_verifier_and_a_leak_is_wrong() -> None:
    environment = PlanTeaching(tiny_renderer(), Baselines(ModelStudent(actor(Scripted(str)))))
    (hard, _), (easy, _) = lessons(Scripted(student_says), Scripted(teacher_says))
    assert environment.measured([hard]) == 1.0
    assert environment.measured([hard, easy]) == 0.5


def test_a_teacher_that_is_shown_the_attempt_is_not_told_how_it_turned_out() -> None:
    chat = replace(tiny_renderer(), prompts=shipped_prompts("chat"))
    prompts = PlanTeaching(chat, Baselines(ModelStudent(actor(Scripted(student_says)))))
    hard, easy = (str(chat.tokenizer.decode(ids)) for ids in prompts.begin([HARD, EASY]))
    assert "no idea" in hard
    assert "Answer: 7" in easy
    assert all("I go from left to right." in said for said in (hard, easy))
    # The two differ in what the student read and wrote, and in nothing else.
    assert hard.replace("no idea", "…").replace(HARD.question, "?") == easy.replace(
        "Answer: 7", "…"
    ).replace(EASY.question, "?")


def test_a_chat_teacher_is_shown_what_the_traces_know() -> None:
    chat = replace(tiny_renderer(), prompts=shipped_prompts("chat"))
    environment = PlanTeaching(chat, Baselines(ModelStudent(actor(Scripted(student_says)))))
    known = replace(HARD, metadata={RECORDED: {"dossier": "A trap.", "lane": "coach"}})
    plain, shown = (
        str(chat.tokenizer.decode(ids))
        for task in (HARD, known)
        for ids in environment.begin([task])
    )
    section = "What is known about the task (its triage dossier):\nA trap.\n\n"
    assert shown.replace(section, "") == plain
    assert section in shown
    longest = len(environment.begin([known])[0]) + 32 + 50
    with pytest.raises(AtlasError, match="takes up to"):
        environment.prepare([known], actor(Scripted(teacher_says), window=longest))


def test_room_is_kept_for_all_that_a_teacher_is_shown() -> None:
    plain = tiny_renderer()
    for prompts, shown in ((shipped_prompts("plain"), 32), (shipped_prompts("chat"), 32 + 50)):
        renderer = replace(plain, prompts=prompts)
        environment = PlanTeaching(renderer, Baselines(ModelStudent(actor(Scripted(student_says)))))
        blanks = {"approach": ".", "alone": "."}
        num_blanks = sum(prompts.has_blank("teaching", name) for name in blanks)
        prompt = len(renderer.prompt("teaching", task=HARD.question, **blanks)) - num_blanks
        enough = prompt + shown + 50
        environment.prepare([HARD], actor(Scripted(teacher_says), window=enough))
        with pytest.raises(AtlasError, match=f"takes up to {prompt + shown} tokens"):
            environment.prepare([HARD], actor(Scripted(teacher_says), window=enough - 1))


def thinking_teacher(prompt: str) -> str:
    """Thinks of the answer first; on the easy task without an end."""
    if "3 * 4" in prompt:
        return "<think>It is 14.</think><teaching>A = 3 * 4. Answer 2 + A.</teaching> Good"
    return "<think>It is 7"


def test_thoughts_are_the_teachers_own() -> None:
    """They leak nothing; those that don't end are no teaching, and the student isn't asked."""
    pupil = Scripted(student_says)
    baselines = Baselines(ModelStudent(actor(pupil)))
    prompts = tiny_renderer().prompts.with_settings("teacher", teaching_tag="teaching")
    environment = PlanTeaching(replace(tiny_renderer(), prompts=prompts), baselines)
    groups = roll_out(
        environment, actor(Scripted(thinking_teacher)), [HARD, EASY], num_samples=2, seed=8
    )
    (hard, _), (easy, _) = groups
    assert hard.teaching.text == "A = 3 * 4. Answer 2 + A."
    assert "It is 14." in hard.teaching.thoughts
    assert hard.attempt.correct
    assert not hard.leaked
    assert easy.teaching.withheld == "unfinished_thoughts"
    assert (easy.teaching.text, easy.attempt, easy.leaked) == ("", easy.alone, False)
    assert easy.teaching.num_tokens == easy.turns[0].num_tokens == easy.turns[0].thought_tokens
    assert easy.score.value is None  # no other of its group has a score, to be worse than
    # Alone on two tasks, their approaches, and taught on the one; equal prompts count once.
    assert [len(call.prompts) for call in pupil.calls] == [2, 2, 1]
    prompts = [actor(pupil).tokenizer.decode(p) for call in pupil.calls for p in call.prompts]
    assert not any("It is" in str(prompt) for prompt in prompts)


def test_a_students_thoughts_are_read_by_nobody() -> None:
    def says(prompt: str) -> str:
        if "how will you" in prompt:
            return "<think>I guess."
        return f"<think>{student_says(prompt)}</think>Answer: 3"

    (group,) = roll_out(
        PlanTeaching(tiny_renderer(), Baselines(ModelStudent(actor(Scripted(says))))),
        actor(Scripted(lambda _: "A = 3 * 4.")),
        [HARD],
        seed=8,
    )
    assert group[0].approach.text == ""
    assert (group[0].alone.text, group[0].attempt.text) == ("Answer: 3", "Answer: 3")
    assert group[0].attempt.thoughts == "Answer: 14"
    assert not group[0].attempt.correct
