"""A function of the user's as a student: many at once, deadlines, what it raises and returns."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.unit.environments.students.kinds import agent, settings
from tests.unit.environments.students.page import from_page

from atlas.config.resolve import resolve
from atlas.environments.students.agent import AgentStudent, load_agent
from atlas.errors import AtlasError
from atlas.types import Attempt, Task

TASK = Task(question="2 + 2 =", answer="4", family="reference", metadata={"hint": "even"})
HERE = __name__
_together = [0, 0]


async def sees(task: Task, teaching: str | None) -> str:
    return f"{task.question!r} {task.answer!r} {dict(task.metadata)} {teaching!r}"


async def stalls(task: Task, teaching: str | None) -> str:
    await asyncio.sleep(60)
    return ""


async def counts(task: Task, teaching: str | None) -> str:
    _together[0] += 1
    _together[1] = max(_together)
    await asyncio.sleep(0.01)
    _together[0] -= 1
    return "4"


async def fails(task: Task, teaching: str | None) -> str:
    raise KeyError("no such tool; password=hunter2secret")


async def exits(task: Task, teaching: str | None) -> str:
    sys.exit(0)


async def times_out_itself(task: Task, teaching: str | None) -> str:
    raise TimeoutError("of a tool")


async def cancels(task: Task, teaching: str | None) -> str:
    raise asyncio.CancelledError


async def abstains(task: Task, teaching: str | None) -> Attempt:
    return Attempt(abstained="no tool answers")


async def number(task: Task, teaching: str | None) -> Any:
    return 4


async def blocks(task: Task, teaching: str | None) -> str:
    time.sleep(2.0)
    return "4"


def not_async(task: Task, teaching: str | None) -> str:
    return "4"


async def one_argument(task: Task) -> str:
    return "4"


class Callable:
    async def __call__(self, task: Task, teaching: str | None) -> str:
        return "4"


an_object = Callable()


def asked(function: str, folder: Path, times: int = 1, **keys: Any) -> list[Attempt]:
    with agent(folder, f"{HERE}:{function}", **keys) as student:
        return student.attempt([TASK] * times, ["Add."] * times)


def test_it_sees_the_task_without_its_answer_and_the_teaching(tmp_path: Path) -> None:
    (attempt,) = asked("sees", tmp_path)
    assert attempt.text == "'2 + 2 =' '' {'hint': 'even'} 'Add.'"
    assert attempt.num_tokens == 0  # nobody knows


def test_an_object_that_is_called_will_do(tmp_path: Path) -> None:
    assert asked("an_object", tmp_path)[0].text == "4"


def test_many_are_on_their_way_and_no_more_than_allowed(tmp_path: Path) -> None:
    _together[:] = [0, 0]
    attempts = asked("counts", tmp_path, times=20, student_concurrency=5)
    assert len(attempts) == 20
    assert _together == [0, 5]


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("fails", "agent failed (KeyError: 'no such tool; password=***"),
        ("exits", "agent failed (SystemExit: 0)"),
        ("times_out_itself", "agent failed (TimeoutError: of a tool)"),
        ("cancels", "agent failed (CancelledError: )"),
        ("stalls", "agent gave no answer within 0.05 s"),
    ],
)
def test_what_goes_wrong_is_an_abstention_with_its_traceback(
    function: str, reason: str, tmp_path: Path
) -> None:
    seconds = 0.05 if function == "stalls" else 60.0
    (attempt,) = asked(function, tmp_path, student_deadline_s=seconds)
    assert reason in attempt.abstained
    text = (tmp_path / "errors.jsonl").read_text()
    line = json.loads(text)
    assert (line["task"], line["teaching"], line["question"]) == (TASK.id, "Add.", "2 + 2 =")
    assert f"in {function}" in line["traceback"]
    assert "hunter2secret" not in text + attempt.abstained


def test_it_may_abstain_itself(tmp_path: Path) -> None:
    assert asked("abstains", tmp_path)[0].abstained == "no tool answers"
    assert not (tmp_path / "errors.jsonl").exists()


def test_what_is_no_answer_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match=f"{HERE}:number' returned int 4 for task {TASK.id}"):
        asked("number", tmp_path)


def test_one_that_lets_nothing_else_run_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atlas.environments.students.elsewhere.PATIENCE_S", 0.0)
    with pytest.raises(AtlasError, match=r"keeps everything else waiting for more than 0\.05 s"):
        asked("blocks", tmp_path, student_deadline_s=0.05)


def test_one_that_always_fails_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atlas.endpoint.outage.FIRST_WAIT_S", 0.001)
    limits = {"student_abstention_window": 4, "student_outage_deadline_s": 0}
    with pytest.raises(AtlasError, match=r"KeyError.*raise student_max_abstention_rate"):
        asked("fails", tmp_path, times=20, **limits)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("not_async", "must be an async function"),
        ("one_argument", "must take two arguments, a task and a teaching"),
        ("nowhere", "can't be imported"),
    ],
)
def test_what_is_no_agent_is_refused(function: str, says: str) -> None:
    name = f"{HERE}:{function}"
    with pytest.raises(AtlasError, match=says):
        load_agent(name, [name])


def test_it_is_not_imported_unless_the_command_line_allows_it() -> None:
    config = settings(student="agent", student_function="antigravity:fly")
    for make in (resolve, AgentStudent):
        with pytest.raises(AtlasError, match=r"'allow_targets=\[antigravity:fly\]'"):
            make(config)
    assert "antigravity" not in sys.modules


def test_several_samples_count_together(tmp_path: Path) -> None:
    (attempt,) = asked("sees", tmp_path, student_samples=3)
    assert len(attempt.again) == 2


def test_the_agents_of_the_page_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that need a framework do so in tests/peers."""
    with from_page("import re", tmp_path, monkeypatch) as (student, _):
        alone, taught = student.attempt([TASK, TASK], [None, "Add."])
    assert (alone.text, taught.text, taught.num_tokens) == ("Answer: 2", "Answer: 4", 2)
    with from_page("import os\n\nfrom openai import", tmp_path, monkeypatch) as found:
        student, server = found
        (taught,) = student.attempt([TASK], ["Add."])
    assert (taught.text, taught.num_tokens, taught.abstained) == ("Answer: 4", 120, "")
    first, second = server.requests
    assert "A teacher says: Add." in first["messages"][0]["content"]
    assert [message["role"] for message in second["messages"]] == ["user", "assistant", "user"]
