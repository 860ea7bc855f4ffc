from __future__ import annotations

import pytest

from atlas.data.tasks import is_held_out
from atlas.from_scratch.data.tasks import ranked_from_tasks, worth
from atlas.rewards.verifiers import verify
from atlas.types import Task

FAMILIES = ("chain_sum", "leg_counting")


def test_ranks_follow_the_verifier_then_the_form_then_nearness_then_brevity() -> None:
    task = Task(question="?", answer="14", family="chain_sum")
    best_first = [
        "Answer: 14",
        "I am sure. Answer: 14",
        "Answer: 15",
        "I am not sure. Answer: 15",
        "Answer: 99",
        "It is",
        "I do not know",
    ]
    assert sorted(best_first, key=lambda text: worth(task, text), reverse=True) == best_first


def test_the_same_seed_gives_the_same_records_and_another_others() -> None:
    first, again, other = (
        ranked_from_tasks(FAMILIES, 20, responses_per_prompt=5, seed=seed) for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("count", [2, 5, 9])
def test_every_record_has_a_verified_best_and_no_place_tells_the_rank(count: int) -> None:
    records = ranked_from_tasks(FAMILIES, 60, responses_per_prompt=count, seed=0)
    places = set()
    for record in records:
        best = record.ranks.index(1)
        places.add(best)
        assert record.task is not None
        assert verify(record.task, record.responses[best]).correct
        assert len(record.responses) == count
    assert places == set(range(count))


def test_validation_is_held_out() -> None:
    records = ranked_from_tasks(FAMILIES, 20, responses_per_prompt=2, seed=0, split="held_out")
    assert all(record.task is not None and is_held_out(record.task) for record in records)
