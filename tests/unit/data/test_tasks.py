"""Tasks: splits by content, equal on every machine, right reference answers."""

from __future__ import annotations

from collections import Counter

import pytest
import reasoning_gym

from atlas.data.tasks import (
    PRESETS,
    check_disjoint,
    check_family,
    is_held_out,
    make_tasks,
    mixed_tasks,
    task_stream,
    wordings,
)
from atlas.errors import AtlasError
from atlas.types import Task, task_id

FAMILIES = list(PRESETS)


@pytest.mark.parametrize("family", FAMILIES)
def test_splits_never_share_a_task_whatever_the_seed(family: str) -> None:
    train = make_tasks(family, 600, seed=0) + make_tasks(family, 600, seed=1)
    held_out = make_tasks(family, 150, seed=2, split="held_out")
    assert not {task.id for task in train} & {task.id for task in held_out}
    assert all(is_held_out(task) for task in held_out)
    check_disjoint(held_out, train)


CHAIN = "State the final answer to the following arithmetic problem: {} ="


@pytest.mark.parametrize(
    ("family", "question", "others"),
    [
        ("basic_arithmetic", "Calculate 3 + 4 - 5.", [CHAIN.format("3 + 4 - 5")]),
        ("chain_sum", CHAIN.format("3 + 4"), ["Calculate 3 + 4."]),
        # chain_sum never multiplies
        ("basic_arithmetic", "Calculate 3 * 4 - 5.", []),
        ("leg_counting", "Now, how many legs ... 3 cats, 4 dogs?", []),
    ],
)
def test_wordings(family: str, question: str, others: list[str]) -> None:
    found = wordings(Task(question=question, answer="", family=family))
    assert found == [question, *others]


def test_a_held_out_sum_is_in_no_family_of_the_train_split() -> None:
    held_out = mixed_tasks(FAMILIES[:2], 60, seed=1, split="held_out")
    for task in held_out:
        for wording in wordings(task):
            assert is_held_out(Task(question=wording, answer="", family="chain_sum")), wording
    (sums,) = [t for t in held_out if t.family == "chain_sum"][:1]
    other = Task(question=wordings(sums)[1], answer=sums.answer, family="basic_arithmetic")
    with pytest.raises(AtlasError, match=f"1 held-out tasks .* {task_id(other.question)} first"):
        check_disjoint([sums], [other])


def test_about_a_tenth_is_held_out() -> None:
    stream = task_stream("basic_arithmetic", 0)
    share = sum(is_held_out(next(stream)) for _ in range(3000)) / 3000
    assert 0.08 < share < 0.12


def test_the_split_is_the_same_on_every_machine() -> None:
    """`printf 'Calculate 1 + 1.' | sha256sum` begins with 8151, 'Calculate 10 + 1.' with e6e4."""

    def calculate(number: int) -> Task:
        return Task(question=f"Calculate {number} + 1.", answer="", family="chain_sum")

    assert not is_held_out(calculate(1))
    assert is_held_out(calculate(10))


def test_equal_seeds_give_equal_tasks_and_others_do_not() -> None:
    first = make_tasks("chain_sum", 50, seed=7)
    assert first == make_tasks("chain_sum", 50, seed=7)
    assert len({task.id for task in first}) == 50
    # More of the same begins in the same way.
    assert make_tasks("chain_sum", 70, seed=7)[:50] == first
    other = {task.id for task in make_tasks("chain_sum", 50, seed=8)}
    assert len(other & {task.id for task in first}) < 10


def test_reference_answers_are_right() -> None:
    """reasoning-gym itself works this family from left to right: 1 + 2 * 3 would be 9."""
    tasks = make_tasks("basic_arithmetic", 300, seed=4)
    for task in tasks:
        expression = task.question.removeprefix("Calculate ").removesuffix(".")
        assert str(eval(expression)) == task.answer, task.question
    entries = reasoning_gym.create_dataset(
        "basic_arithmetic", size=300, seed=4, **PRESETS["basic_arithmetic"]
    )
    wrong = sum(str(eval(e["metadata"]["expression"])) != e["answer"] for e in entries)
    assert wrong > 50, "reasoning-gym was mended: _reference can go"


def test_tasks_say_where_they_come_from() -> None:
    task = make_tasks("leg_counting", 1, seed=0)[0]
    assert task.family == task.metadata["source_dataset"] == "leg_counting"
    assert task.question == task.question.strip()
    assert int(task.answer) == task.metadata["total_legs"]


@pytest.mark.parametrize(
    ("family", "hint"),
    [
        ("chain_sums", "did you mean 'chain_sum'?"),
        ("leg_count", "did you mean 'leg_counting'?"),
        ("zzzz", "see reasoning_gym.factory.DATASETS"),
    ],
)
def test_an_unknown_family_is_refused(family: str, hint: str) -> None:
    message = f"task family '{family}' does not exist in reasoning-gym; {hint}"
    with pytest.raises(AtlasError) as caught:
        make_tasks(family, 1, seed=0)
    assert str(caught.value) == message
    with pytest.raises(AtlasError):
        check_family(family)


def test_an_exhausted_family_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two digits and one operator make 200 questions."""
    tiny = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}
    monkeypatch.setattr("atlas.data.tasks.PRESETS", {"chain_sum": tiny})
    with pytest.raises(
        AtlasError, match=r"'chain_sum': only 1\d\d different tasks in split 'train'"
    ):
        make_tasks("chain_sum", 500, seed=0)


def test_a_mix_has_equal_shares_shuffled() -> None:
    tasks = mixed_tasks(FAMILIES, 11, seed=3, split="held_out")
    assert Counter(task.family for task in tasks) == dict(zip(FAMILIES, (4, 4, 3), strict=True))
    assert [task.family for task in tasks] != sorted(task.family for task in tasks)
    assert tasks == mixed_tasks(FAMILIES, 11, seed=3, split="held_out")
    assert all(is_held_out(task) for task in tasks)


def test_a_mix_of_nothing_is_refused() -> None:
    with pytest.raises(AtlasError, match="name at least one task family"):
        mixed_tasks([], 3, seed=0)


def test_a_task_that_was_seen_is_told() -> None:
    seen = make_tasks("chain_sum", 5, seed=0)
    first = min(seen[1].id, seen[3].id)
    with pytest.raises(AtlasError, match=f"2 held-out tasks were seen in training, {first} first"):
        check_disjoint([seen[3], seen[1]], seen)
