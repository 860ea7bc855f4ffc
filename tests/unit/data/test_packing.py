"""Rows of several examples: which go together, and what of a row is learned."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from atlas.data.chat import Example, collate
from atlas.data.packing import fullness, join, pack, positions


def example(length: int, prompt: int = 1, first: int = 0) -> Example:
    """An example whose ids count up from ``first``."""
    return Example(ids=tuple(range(first, first + length)), prompt_length=prompt, source=str(first))


def test_a_row_is_learned_as_its_examples_are() -> None:
    """Three examples, the second one with a turn that is read between two that are learned:

    ids         10 11 12 | 20 21 22 23 24 | 30 31
    in the loss  -  -  # |  -  #  -  -  # |  -  #
    positions    0  1  2 |  0  1  2  3  4 |  0  1
    """
    middle = Example(ids=(20, 21, 22, 23, 24), prompt_length=1, read=((2, 4),), source="20")
    row = join([example(3, 2, 10), middle, example(2, 1, 30)])
    assert row.ids == (10, 11, 12, 20, 21, 22, 23, 24, 30, 31)
    _, trained_BT = collate([row], pad_id=0)
    assert trained_BT.int().tolist() == [[0, 0, 1, 0, 1, 0, 0, 1, 0, 1]]
    places = positions([row, example(11)])
    assert places is not None
    assert places.tolist() == [[0, 1, 2, 0, 1, 2, 3, 4, 0, 1, 2], list(range(11))]
    assert (row.num_trained, row.num_turns, row.starts, row.source) == (4, 4, (3, 8), "10,20,30")


def test_the_first_token_of_an_example_without_prompt_is_predicted_by_nothing() -> None:
    row = join([example(2, 0), example(2, 0)])
    _, trained_BT = collate([row], pad_id=0)
    assert trained_BT.int().tolist() == [[0, 1, 0, 1]]
    assert row.num_trained == 2


def test_rows_without_packing_have_no_positions() -> None:
    assert positions([example(3), example(5)]) is None


def test_the_fullest_row_with_room_takes_an_example() -> None:
    """Into rows of 10: 7 and 3, then 6 and 4, not 6 and 3; 2 is left with nothing but itself."""
    rows = pack([example(length, first=100 * length) for length in (3, 4, 2, 6, 7)], 10)
    assert [row.source for row in rows] == ["700,300", "600,400", "200"]
    assert fullness(rows, 10) == 22 / 30


def test_an_example_longer_than_a_row_stands_alone() -> None:
    assert [len(row.ids) for row in pack([example(3), example(12)], 10)] == [12, 3]


@given(st.lists(st.integers(1, 20), max_size=30), st.integers(20, 40))
def test_every_example_is_in_one_row_and_no_row_is_too_long(lengths: list[int], room: int) -> None:
    examples = [example(length, first=100 * place) for place, length in enumerate(lengths)]
    rows = pack(examples, room)
    parts: list[tuple[int, ...]] = []
    for row in rows:
        cuts = [0, *row.starts, len(row.ids)]
        parts += [row.ids[a:b] for a, b in itertools.pairwise(cuts)]
    assert sorted(parts) == sorted(each.ids for each in examples)
    assert all(len(row.ids) <= room for row in rows)
    assert sum(row.num_trained for row in rows) == sum(each.num_trained for each in examples)
