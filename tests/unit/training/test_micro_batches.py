"""Micro-batches: whole groups where they fit, nothing above the budget, nothing lost."""

from __future__ import annotations

import pytest

from atlas.training.micro_batches import Group, dealt, micro_batches, num_tokens
from atlas.types import TrainSample


def group(number: int, prompt: int, *lengths: int) -> Group:
    """A group with a prompt of so many tokens and completions of these lengths."""
    return [
        TrainSample(
            group=number,
            prompt_ids=(5,) * prompt,
            completion_ids=(7,) * length,
            rollout_logprobs=(-1.0,) * length,
            advantage=1.0,
        )
        for length in lengths
    ]


def layout(batches: list[list[Group]]) -> list[list[list[int]]]:
    """Lengths of the completions of each group of each micro-batch."""
    return [[[len(s.completion_ids) for s in group] for group in batch] for batch in batches]


def test_what_is_counted() -> None:
    groups = [group(0, 10, 2, 3), group(1, 4, 6)]
    assert num_tokens(groups, shared=True) == 10 + 2 + 3 + 4 + 6
    assert num_tokens(groups, shared=False) == 3 * (10 + 6)


def test_neighbours_in_length_share_a_micro_batch() -> None:
    groups = [group(0, 4, 9, 2), group(1, 4, 1, 1), group(2, 4, 8, 8), group(3, 4, 2, 2)]
    # 6 + 8 tokens, then 15 and 20: no two of the rest fit into 30 together.
    assert layout(micro_batches(groups, 30)) == [[[1, 1], [2, 2]], [[8, 8]], [[9, 2]]]
    # Into 14 the groups of 15 and of 20 tokens don't fit: they are divided.
    assert layout(micro_batches(groups, 14)) == [[[1, 1], [2]], [[2, 2]], [[8]], [[8]], [[9]]]


@pytest.mark.parametrize("shared", [True, False])
def test_a_group_above_the_budget_is_divided_and_one_sample_never(shared: bool) -> None:
    batches = micro_batches([group(0, 6, 5, 1, 2, 5, 1)], 16, shared=shared)
    sizes = [num_tokens(batch, shared=shared) for batch in batches]
    assert max(sizes) <= 16
    assert sorted(n for batch in layout(batches) for piece in batch for n in piece) == [
        *(1, 1, 2, 5, 5)
    ]
    assert layout(micro_batches([group(0, 6, 5)], 1, shared=shared)) == [[[5]]]


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 5])
def test_ranks_get_every_sample_once_and_about_as_much_each(num_ranks: int) -> None:
    groups = [group(p, 10, 3, 9, 4, 20) for p in range(6)]
    shares = dealt(groups, 200, num_ranks)
    found = [s for share in shares for batch in share for piece in batch for s in piece]
    assert sorted(map(id, found)) == sorted(id(s) for one in groups for s in one)
    loads = [sum(num_tokens(batch, shared=True) for batch in share) for share in shares]
    assert max(loads) - min(loads) <= 46  # the dearest group
    assert all(num_tokens(batch, shared=True) <= 200 for share in shares for batch in share)


def test_one_group_is_divided_among_ranks() -> None:
    shares = dealt([group(0, 4, 10, 10, 10, 10)], 1000, 2)
    assert [layout(share) for share in shares] == [[[[10, 10]]], [[[10, 10]]]]


def test_a_rank_may_have_nothing() -> None:
    assert dealt([group(0, 4, 5)], 100, 3)[1:] == [[], []]
