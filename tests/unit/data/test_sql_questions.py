"""Questions about shops: the same for a seed, and answered by PostgreSQL as by SQLite."""

from __future__ import annotations

import random

import pytest

from atlas.data.sql_questions import QUERIES
from atlas.data.tasks import is_held_out, make_tasks
from atlas.rewards.sql.server import read
from atlas.rewards.sql.shop import NUM_SHOPS, shop, work_out
from atlas.rewards.verifiers.registry import accepts_reference


@pytest.mark.parametrize("family", QUERIES)
def test_tasks_are_those_of_their_seed_and_split(family: str) -> None:
    tasks = make_tasks(family, 60, seed=1)
    assert tasks == make_tasks(family, 60, seed=1)
    assert {task.id for task in tasks} != {task.id for task in make_tasks(family, 60, seed=2)}
    held = make_tasks(family, 12, seed=1, split="held_out")
    assert all(map(is_held_out, held))
    assert not any(map(is_held_out, tasks))
    assert [accepts_reference(task) for task in tasks + held] == [None] * 72
    assert all(task.answer and "Its tables: customers(" in task.question for task in tasks)


def test_a_level_has_more_to_join_than_the_one_below() -> None:
    def tables(family: str) -> float:
        rng = random.Random(0)
        asked = [QUERIES[family](rng, shop(0))[1] for _ in range(50)]
        return sum(query.count("JOIN") + query.count("SELECT") for query in asked) / 50

    lookup, join, nested = map(tables, QUERIES)
    assert lookup == 1
    assert lookup < join < nested


@pytest.mark.usefixtures("shops")
@pytest.mark.parametrize("family", QUERIES)
def test_postgresql_answers_as_the_reference_was_worked_out(family: str) -> None:
    rng = random.Random(family)
    for _ in range(25):
        number = rng.randrange(NUM_SHOPS)
        _, query = QUERIES[family](rng, shop(number))
        found = [value for (value,) in read(f"shop_{number}", query).rows if value is not None]
        assert sorted(found) == sorted(work_out(number, query)), query
