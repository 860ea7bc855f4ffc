"""A teacher who speaks before each of the student's turns."""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Callable

import pytest
from tests.unit.environments.scripted import Scripted, actor
from tests.unit.environments.students.kinds_acting import KINDS
from tests.unit.tiny_models import tiny_renderer

from atlas.data.sql_questions import QUERIES, SQL_QUESTIONS
from atlas.environments.rollout import act, roll_out
from atlas.environments.students.baselines import Baselines
from atlas.environments.students.model import ModelStudent
from atlas.environments.students.student import Student
from atlas.environments.teaching.plan import PlanTeaching
from atlas.environments.teaching.steps import StepTeaching
from atlas.environments.tools.acting import Acting
from atlas.environments.tools.sql import sql_tool
from atlas.environments.tools.toolbox import Toolbox
from atlas.evaluation.claims import measure_claims
from atlas.prompts.folder import shipped_prompts
from atlas.rewards.sql.shop import NUM_SHOPS, shop
from atlas.traces.record import sessions_from_lessons
from atlas.types import Lesson, Task

HARD = Task(question="Calculate 2 + 3 * 4.", answer="14", family="basic_arithmetic")


def tutor(prompt: str) -> str:
    """Send the student to look, then tell it to answer what it saw."""
    return "Now answer." if "coins" in prompt else "Look into box 2."


def taught(student: Student, say: Callable[[str], str] = tutor) -> tuple[Lesson, Scripted]:
    engine = Scripted(say)
    environment = StepTeaching(tiny_renderer(), Baselines(student))
    ((first, _),) = roll_out(environment, actor(engine), [HARD], num_samples=2, seed=1)
    assert environment._after == {}
    return first, engine


@pytest.mark.parametrize("kind", KINDS)
def test_it_speaks_before_every_turn_having_read_what_was_done(kind: str) -> None:
    with KINDS[kind]() as student:
        lesson, engine = taught(student)
    assert len(lesson.turns) == len(lesson.attempt.turns) == 2
    assert [turn.guidance for turn in lesson.attempt.turns] == ["", "Now answer."]
    assert (lesson.attempt.text, lesson.score.parts["uplift"]) == ("Answer: 14", 1.0)
    assert "I look.\nCall: look" in lesson.replies[0] or "Call: look" in lesson.replies[0]
    assert "> there are 14 coins" in lesson.replies[0]
    assert lesson.teaching.text == "Look into box 2. #0\nNow answer."
    assert lesson.teaching.num_tokens == lesson.num_tokens
    # Both of the group speak a second time; nothing of the reference is in any prompt.
    assert [len(call.prompts) for call in engine.calls] == [1, 2]


def test_a_group_shares_one_advantage_an_episode_and_each_has_its_own_student() -> None:
    with KINDS["words"]() as student:
        environment = StepTeaching(tiny_renderer(), Baselines(student))
        engine = Scripted(lambda prompt: tutor(prompt) if "coins" in prompt else "Look into box 2.")
        (group,) = roll_out(environment, actor(engine), [HARD], num_samples=3, seed=1)
    assert [len(one.turns) for one in group] == [2, 2, 2]
    assert len({one.turns[0].text for one in group}) == 3  # "#g": three courses, none mixed up
    assert all(one.attempt.turns[1].guidance == "Now answer." for one in group)


def test_what_it_says_of_what_the_tool_said_leaks() -> None:
    def leaks(prompt: str) -> str:
        return "The answer is 14." if "coins" in prompt else "Look into box 2."

    with KINDS["words"]() as student:
        lesson, _ = taught(student, leaks)
    assert lesson.leaked
    assert lesson.score.value is not None
    assert lesson.score.value <= 0


def test_where_the_teacher_has_no_room_left_the_student_goes_on_alone() -> None:
    engine = Scripted(tutor)
    with KINDS["words"]() as student:
        environment = StepTeaching(tiny_renderer(), Baselines(student))
        begun = len(environment.begin([HARD])[0])
        one = actor(engine, window=begun + 60)
        ((lesson,),) = act(environment, one, [HARD], seed=1)
    assert len(lesson.turns) == 1
    assert [turn.guidance for turn in lesson.attempt.turns] == ["", ""]
    assert lesson.attempt.text == "Answer: 14"


def test_a_recorded_session_has_every_turn_and_every_note() -> None:
    with KINDS["words"]() as student:
        lesson, _ = taught(student)
    (session,) = sessions_from_lessons([lesson], learning_key="k")
    (step,) = session.steps
    assert [note.note for note in step.guidance] == ["Look into box 2. #0", "Now answer."]
    attempt = next(e.event for e in session.trajectory_events if e.event["phase"] == "attempt")
    (call,) = attempt["turns"][0]["calls"]
    assert call["result"] == "there are 14 coins"


def _with_query(family: str, number: int) -> tuple[Task, str]:
    """Return a task, and the query that its answer was worked out by."""
    task = SQL_QUESTIONS[family](random.Random(number))
    rng = random.Random(number)
    while True:
        place = rng.randrange(NUM_SHOPS)
        asked, query = QUERIES[family](rng, shop(place))
        if task.question.startswith(f"{asked} The database is that of shop {place}."):
            return task, query


@pytest.mark.usefixtures("shops")
@pytest.mark.parametrize("kind", [PlanTeaching, StepTeaching])
def test_the_uplift_of_a_student_of_known_skill_is_in_its_interval(kind: type) -> None:
    """It knows the query of every third task alone, and of two in three when it is told to join."""
    known: dict[str, Task] = {}
    queries: dict[str, str] = {}
    for number in range(60):
        task, query = _with_query("sql_join", number)
        known[task.id], queries[task.id] = task, query
    tasks = list(known.values())

    def answers(prompt: str) -> str:
        if found := re.search(r"Result:\n> .*\n((?:> .*\n)+)> \(\d+ rows\)", prompt):
            rows = [line.removeprefix("> ") for line in found[1].splitlines()]
            return f"Answer: {', '.join(rows)}"
        task = next(one for one in tasks if one.question in prompt)
        place = tasks.index(task)
        knows = place % 3 == 0 or (place % 3 == 1 and "join the tables" in prompt)
        query = queries[task.id] if knows else "SELECT -1"
        return f"Call: sql {query}"

    toolbox = Toolbox([sql_tool()], timeout_s=60)
    way = Acting(toolbox, shipped_prompts("plain"), max_turns=3)
    wide = actor(Scripted(answers))
    with contextlib.closing(ModelStudent(wide, acting=way)) as student:
        environment = kind(tiny_renderer(), Baselines(student))
        advises = actor(Scripted(lambda _: "First join the tables."))
        groups = act(environment, advises, tasks, seed=0)
    (uplift,) = [one for one in measure_claims([x for (x,) in groups]) if one.name == "uplift"]
    share = 100 * len(range(1, len(tasks), 3)) / len(tasks)
    assert uplift.interval is not None
    assert uplift.value == pytest.approx(share)
    assert 0 < uplift.interval.low < share < uplift.interval.high
