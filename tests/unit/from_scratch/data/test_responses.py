from __future__ import annotations

import random

import pytest

from atlas.data.tasks import make_tasks
from atlas.from_scratch.data.responses import KINDS, write_responses
from atlas.rewards.verifiers import verify

WORKED = ("basic_arithmetic", "chain_sum", "leg_counting")


@pytest.mark.parametrize("family", [*WORKED, "gcd"])
def test_responses_are_what_they_are_written_as(family: str) -> None:
    tasks = make_tasks(family, 60, seed=5)
    answers = [task.answer for task in tasks]
    rng = random.Random(1)
    for task in tasks:
        by_kind = {r.kind: r.text for r in write_responses(task, answers, 5, rng)}
        assert tuple(by_kind) == KINDS
        assert verify(task, by_kind["short"]).correct
        assert verify(task, by_kind["long"]).correct
        assert len(by_kind["long"]) > len(by_kind["short"])
        near, malformed = (verify(task, by_kind[kind]) for kind in ("near miss", "malformed"))
        assert near.parsed
        assert not near.correct
        assert not malformed.parsed


def test_most_wrong_ones_are_wrong() -> None:
    """Not all: nobody can get 0 + 0 + 0 wrong by another order or operator."""
    tasks = make_tasks("chain_sum", 100, seed=5)
    rng = random.Random(1)
    texts = [write_responses(task, [], 2, rng)[1].text for task in tasks]
    right = sum(verify(task, text).correct for task, text in zip(tasks, texts, strict=True))
    assert right <= 2


@pytest.mark.parametrize("family", ["chain_sum", "gcd"])
def test_sixteen_are_all_different(family: str) -> None:
    tasks = make_tasks(family, 20, seed=2)
    answers = [task.answer for task in tasks]
    for task in tasks:
        responses = write_responses(task, answers, 16, random.Random(0))
        assert len({response.text for response in responses}) == 16
