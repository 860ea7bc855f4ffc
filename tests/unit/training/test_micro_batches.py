"""Micro-batches: whole groups where they fit, nothing above the budget, nothing lost; packing."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.training.micro_batches import (
    Group,
    dealt,
    fullness,
    micro_batches,
    num_tokens,
    pack,
)
from atlas.types import Tokens


def group(number: int, prompt: int, *lengths: int) -> Group:
    """A group with a prompt of so many tokens and completions of these lengths."""
    return [Tokens.of((number,) * prompt, (7,) * length) for length in lengths]


def layout(batches: list[list[Group]]) -> list[list[list[int]]]:
    """Lengths of the completions of each group of each micro-batch."""
    return [[[s.num_own for s in group] for group in batch] for batch in batches]


def test_what_is_counted() -> None:
    groups = [group(0, 10, 2, 3), group(1, 4, 6)]
    assert num_tokens(groups, shared=True) == 10 + 2 + 3 + 4 + 6
    assert num_tokens(groups, shared=False) == 3 * (10 + 3)


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


def test_groups_that_are_compared_are_never_divided() -> None:
    """Shared: 8 + 9 tokens, then 19. Else rows x longest row: 4 x 7, and 2 x 10."""
    groups = [group(0, 3, 4, 2), group(1, 2, 3, 3), group(2, 1, 9, 9)]
    for max_tokens, shared in ((17, True), (28, False)):
        found = layout(micro_batches(groups, max_tokens, shared=shared, whole=True))
        assert found == [[[3, 3], [4, 2]], [[9, 9]]]
        found = layout(micro_batches(groups, max_tokens - 1, shared=shared, whole=True))
        assert found == [[[3, 3]], [[4, 2]], [[9, 9]]]


def row(length: int, source: int = 0) -> Tokens:
    """A row whose ids count up from ``source``; all but the first are learned."""
    ids = tuple(range(source, source + length))
    return Tokens(ids=ids, trained=((1, length),) if length > 1 else (), source=str(source))


def test_the_fullest_row_with_room_takes_an_example() -> None:
    """Into rows of 10: 7 and 3, then 6 and 4, not 6 and 3; 2 is left with nothing but itself."""
    rows = pack([row(length, 100 * length) for length in (3, 4, 2, 6, 7)], 10)
    assert [row.source for row in rows] == ["700,300", "600,400", "200"]
    assert fullness(rows, 10) == 22 / 30


def test_an_example_longer_than_a_row_stands_alone() -> None:
    assert [len(row.ids) for row in pack([row(3), row(12)], 10)] == [12, 3]


@given(st.lists(st.integers(1, 20), max_size=30), st.integers(20, 40))
def test_every_example_is_in_one_row_and_no_row_is_too_long(lengths: list[int], room: int) -> None:
    examples = [row(length, 100 * place) for place, length in enumerate(lengths)]
    rows = pack(examples, room)
    parts: list[tuple[int, ...]] = []
    for packed in rows:
        cuts = [0, *packed.starts, len(packed.ids)]
        parts += [packed.ids[a:b] for a, b in itertools.pairwise(cuts)]
    assert sorted(parts) == sorted(each.ids for each in examples)
    assert all(len(packed.ids) <= room for packed in rows)
    assert sum(p.num_trained for p in rows) == sum(each.num_trained for each in examples)
