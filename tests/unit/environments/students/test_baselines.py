"""What a student does alone is asked once a task, over interruptions and processes, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from atlas.environments.students.baselines import Baselines, baseline_key
from atlas.environments.students.student import Student
from atlas.prompts.folder import shipped_prompts
from atlas.run.progress import Silent
from atlas.types import Attempt, StudentTurn, Task, ToolCall, Utterance

TASKS = [Task(question=f"{n} + 1 =", answer=str(n + 1), family="reference") for n in range(600)]

PLAIN = shipped_prompts("plain")


class Counting(Student):
    """Answers 4 to everything, and counts; is down where a question is among ``down``."""

    def __init__(self, down: Sequence[str] = ()) -> None:
        self.asked: list[str] = []
        self.down = down

    def attempt(
        self, tasks: Sequence[Task], teachings: Sequence[str | None], *, seed: int = 0
    ) -> list[Attempt]:
        assert not any(teachings)
        self.asked += [task.question for task in tasks]
        return [
            Attempt(abstained="down")
            if task.question in self.down
            else Attempt(text="Answer: 4", num_tokens=3, finished=False)
            for task in tasks
        ]

    def approach(self, tasks: Sequence[Task], *, seed: int = 0) -> list[Utterance]:
        return [Utterance(text=f"how {task.question}", num_tokens=2) for task in tasks]


class Bar(Silent):
    """Adds up."""

    def __init__(self) -> None:
        self.total, self.done = 0, list[int]()

    def begin(self, total: int, done: int = 0) -> None:
        self.total = total

    def advance(self, units: int = 1, note: str = "") -> None:
        self.done.append(units)


def test_a_task_is_asked_about_once_and_verified() -> None:
    student = Counting()
    baselines = Baselines(student)
    first = baselines.of([TASKS[3], TASKS[1], TASKS[3]])
    again = baselines.of([TASKS[1], TASKS[2]])
    assert student.asked == ["3 + 1 =", "1 + 1 =", "2 + 1 ="]
    assert [one.alone.correct for one in (*first, *again)] == [True, False, True, False, False]
    assert first[1] is again[0]
    assert first[0].approach.text == "how 3 + 1 ="


def test_answers_outlive_the_process_and_the_next_asks_about_the_rest(tmp_path: Path) -> None:
    first, bar = Counting(), Bar()
    Baselines(first, folder=tmp_path / "kept", key="k").ask(TASKS[:300], bar)
    assert (bar.total, bar.done) == (300, [256, 44])
    assert len(list((tmp_path / "kept").iterdir())) == 2
    second, bar = Counting(), Bar()
    baselines = Baselines(second, folder=tmp_path / "kept", key="k")
    baselines.ask(TASKS[298:302], bar)
    assert second.asked == ["300 + 1 =", "301 + 1 ="]
    assert bar.total == 2
    (known,) = baselines.of([TASKS[3]])
    (asked,) = Baselines(Counting()).of([TASKS[3]])
    assert known == asked
    assert len(second.asked) == 2


def test_another_student_or_other_settings_know_nothing(tmp_path: Path) -> None:
    key = baseline_key("base", PLAIN, limit=1)
    Baselines(Counting(), folder=tmp_path, key=key).ask(TASKS[:2], Bar())
    for key in (
        baseline_key("base", PLAIN, limit=2),
        baseline_key("other", PLAIN, limit=1),
        baseline_key("base", shipped_prompts("chat"), limit=1),
    ):
        other = Counting()
        Baselines(other, folder=tmp_path, key=key).ask(TASKS[:2], Bar())
        assert len(other.asked) == 2
    same = Counting()
    Baselines(same, folder=tmp_path, key=baseline_key("base", PLAIN, limit=1)).ask(TASKS[:2], Bar())
    assert same.asked == []


def test_other_weights_in_the_same_folder_are_another_student(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_text("1")
    key = baseline_key(str(tmp_path), PLAIN)
    assert baseline_key(str(tmp_path), PLAIN) == key
    (tmp_path / "model.safetensors").write_text("12")
    assert baseline_key(str(tmp_path), PLAIN) != key


def test_a_student_that_was_down_is_asked_again(tmp_path: Path) -> None:
    down = Counting(down=["1 + 1 ="])
    baselines = Baselines(down, folder=tmp_path, key="k")
    baselines.ask(TASKS[:2], Bar())
    assert baselines.of(TASKS[1:2])[0].alone.unverified == "down"
    again = Counting()
    Baselines(again, folder=tmp_path, key="k").ask(TASKS[:2], Bar())
    assert again.asked == ["1 + 1 ="]
    down.down, down.asked = (), []
    baselines.forget_failed(TASKS[:2])
    assert not baselines.of(TASKS[1:2])[0].alone.unverified
    assert down.asked == ["1 + 1 ="]


def test_all_samples_outlive_the_process(tmp_path: Path) -> None:
    class Twice(Counting):
        """Answers twice."""

        def attempt(self, tasks: Sequence[Task], *given: Any, **named: Any) -> list[Attempt]:
            made = super().attempt(tasks, *given, **named)
            return [Attempt.together([one, Attempt(text="Answer: 5")]) for one in made]

    first = Baselines(Twice(), folder=tmp_path, key="k")
    first.ask(TASKS[3:4], Bar())
    again = Baselines(Counting(), folder=tmp_path, key="k")
    again.ask(TASKS[3:4], Bar())
    assert again.of(TASKS[3:4]) == first.of(TASKS[3:4])
    assert again.of(TASKS[3:4])[0].alone.right == 0.5


def test_every_turn_of_a_student_that_acts_is_kept(tmp_path: Path) -> None:
    call = ToolCall(name="look", arguments="{}", result="7")
    turns = (StudentTurn(text="", calls=(call,)), StudentTurn(text="Answer: 4"))

    class Acting(Counting):
        def attempt(
            self, tasks: Sequence[Task], teachings: Sequence[str | None], *, seed: int = 0
        ) -> list[Attempt]:
            made = super().attempt(tasks, teachings, seed=seed)
            again = Attempt(text="7", turns=turns[1:])
            return [replace(one, turns=turns, again=(again,)) for one in made]

    Baselines(Acting(), folder=tmp_path, key="k").ask(TASKS[:2], Silent())
    student = Acting()
    baselines = Baselines(student, folder=tmp_path, key="k")
    baselines.ask(TASKS[:2], Silent())
    (found,) = baselines.of(TASKS[1:2])
    assert student.asked == []
    assert found.alone.turns == turns
    assert found.alone.again[0].turns == turns[1:]
