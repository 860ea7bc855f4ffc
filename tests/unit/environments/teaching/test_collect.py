"""Recording sessions: whole chunks, each task once, whatever comes between."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from atlas.config.collect import CollectConfig
from atlas.environments.teaching import collect as module
from atlas.environments.teaching.collect import collect, learning_key, tasks_to_collect
from atlas.errors import AtlasError
from atlas.prompts.folder import shipped_prompts
from atlas.run.progress import Silent
from atlas.run.stopping import Stopped, StopRequest
from atlas.session import Session
from atlas.types import Completion, Lesson, Score, Task, task_id

TASKS = [Task(question=f"{n} + 1 =", answer=str(n + 1), family="reference") for n in range(7)]
CONFIG = CollectConfig(chunk_size=3, num_tasks=7)

PLAIN = shipped_prompts("plain")


class Memory:
    """A collection that keeps its chunks."""

    place = "memory"

    def __init__(self, stop: StopRequest | None = None) -> None:
        self.chunks: list[list[str]] = []
        self.keys: set[object] = set()
        self.stop = stop

    def recorded(self) -> set[str]:
        return {task_id(task) for chunk in self.chunks for task in chunk}

    def add(self, sessions: Sequence[Session]) -> None:
        self.chunks.append([session.task for session in sessions])
        self.keys |= {session.learning_key for session in sessions}
        if self.stop is not None:
            self.stop.asked = True

    def by_status(self) -> Mapping[str, int]:
        return {"succeeded": sum(map(len, self.chunks))}


class Bar(Silent):
    """Adds up."""

    total = done = 0

    def begin(self, total: int, done: int = 0) -> None:
        self.total = total

    def advance(self, units: int = 1, note: str = "") -> None:
        self.done += units


@pytest.fixture
def seeds(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Rollouts without models; the seed that each question was worked with."""
    seen: dict[str, int] = {}
    said = Completion(
        prompt_ids=(1,), token_ids=(2,), logprobs=(0.0,), text="x", finish_reason="stop"
    )

    def roll_out(
        environment: Any, teacher: Any, tasks: Sequence[Task], *, seed: int, num_samples: int
    ) -> list[tuple[Lesson, ...]]:
        seen.update({task.question: seed for task in tasks})
        score = Score(value=1.0, parts={"uplift": 1.0})
        return [(Lesson(task=task, turns=(said,), score=score),) * num_samples for task in tasks]

    monkeypatch.setattr(module, "roll_out", roll_out)
    closed = SimpleNamespace(close=lambda: None)
    monkeypatch.setattr(module, "teacher_and_student", lambda *given: (closed, None))
    return seen


def run(
    collection: Memory, *, stop: StopRequest | None = None, config: CollectConfig = CONFIG
) -> Bar:
    bar = Bar()
    collect(
        config,
        TASKS,
        collection,
        learning_key="k",
        prompts=PLAIN,
        progress=bar,
        stop=stop or StopRequest(),
    )
    return bar


def test_every_task_is_recorded_once_in_chunks(seeds: dict[str, int]) -> None:
    memory = Memory()
    bar = run(memory)
    questions = [task.question for task in TASKS]
    assert memory.chunks == [questions[:3], questions[3:6], questions[6:]]
    assert memory.keys == {"k"}
    assert (bar.total, bar.done) == (7, 7)
    assert len({seeds[chunk[0]] for chunk in memory.chunks}) == 3


def test_several_sessions_of_a_task_are_recorded_together(seeds: dict[str, int]) -> None:
    memory = Memory()
    run(memory, config=replace(CONFIG, samples_per_task=2))
    assert [len(chunk) for chunk in memory.chunks] == [6, 6, 2]
    assert memory.chunks[2] == [TASKS[6].question] * 2


def test_a_stopped_collection_goes_on_with_the_seeds_that_it_would_have_had(
    seeds: dict[str, int],
) -> None:
    run(Memory())
    undisturbed = dict(seeds)
    stop = StopRequest()
    memory = Memory(stop)
    with pytest.raises(Stopped):
        run(memory, stop=stop)
    assert [len(chunk) for chunk in memory.chunks] == [3]
    seeds.clear()
    memory.stop = None
    assert run(memory).done == 7
    assert [len(chunk) for chunk in memory.chunks] == [3, 3, 1]
    assert seeds == {q: seed for q, seed in undisturbed.items() if q not in memory.chunks[0]}


def test_a_task_that_is_recorded_is_not_worked_again_wherever_it_stands(
    seeds: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Memory()
    memory.chunks = [[TASKS[4].question, TASKS[0].question]]
    run(memory)
    assert [len(chunk) for chunk in memory.chunks] == [2, 2, 2, 1]
    assert memory.recorded() == {task.id for task in TASKS}
    # Nothing is left to do, so no model is loaded.
    monkeypatch.setattr(module, "teacher_and_student", lambda *given: pytest.fail("loaded"))
    assert run(memory).done == 7


def test_the_learning_key_follows_from_all_that_decides_the_sessions() -> None:
    key = learning_key(CONFIG, TASKS, PLAIN)
    assert key.startswith("collect-")
    elsewhere = replace(CONFIG, output_dir="o", db_url="postgresql://h/d", num_threads=1)
    assert learning_key(elsewhere, TASKS, PLAIN) == key
    assert learning_key(replace(CONFIG, learning_key="mine"), TASKS, PLAIN) == "mine"
    others = [
        learning_key(replace(CONFIG, teacher_model="t"), TASKS, PLAIN),
        learning_key(replace(CONFIG, seed=1), TASKS, PLAIN),
        learning_key(CONFIG, TASKS[1:], PLAIN),
        learning_key(CONFIG, [replace(TASKS[0], answer="7"), *TASKS[1:]], PLAIN),
        learning_key(CONFIG, [replace(TASKS[0], family="chain_sum"), *TASKS[1:]], PLAIN),
    ]
    others.append(learning_key(CONFIG, TASKS, shipped_prompts("chat")))
    assert len({key, *others}) == 7


def test_a_model_that_was_replaced_records_under_another_key(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    config = replace(CONFIG, teacher_model=str(tmp_path))
    key = learning_key(config, TASKS, PLAIN)
    assert learning_key(config, TASKS, PLAIN) == key
    (tmp_path / "config.json").write_text('{"trained": 1}')
    assert learning_key(config, TASKS, PLAIN) != key


def test_tasks_come_from_a_file_checked_by_their_verifiers(tmp_path: Path) -> None:
    lines = [{"question": task.question, "answer": task.answer} for task in TASKS]
    path = tmp_path / "tasks.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    config = CollectConfig(tasks=str(path))
    assert tasks_to_collect(config) == TASKS
    assert tasks_to_collect(replace(config, num_tasks=2)) == TASKS[:2]
    path.write_text('{"question": "q", "answer": "x", "family": "sudoku"}')
    with pytest.raises(AtlasError, match=r"tasks\.jsonl, line 1: the verifier of family 'sudoku'"):
        tasks_to_collect(config)
