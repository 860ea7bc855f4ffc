from __future__ import annotations

import pytest

from atlas.errors import AtlasError
from atlas.serve.gpus import GPUSplit, numbers_of, shares, split, tensor_parallel


def test_equal_numbers_need_no_names() -> None:
    assert numbers_of([2, 2], None, None) == (2, 2)
    assert numbers_of([0, 0], None, None) == (0, 0)


def test_unequal_numbers_by_name() -> None:
    assert numbers_of([], 1, 3) == (1, 3)


@pytest.mark.parametrize(
    ("positional", "server", "train", "message"),
    [
        ([1, 3], None, None, "Write --server-gpus 1 --train-gpus 3, or the other way round"),
        ([1, 1], 1, None, "give the numbers of GPUs once"),
        ([1], None, None, "two numbers"),
        ([1, 1, 1], None, None, "two numbers"),
        ([], 1, None, "say how many"),
        ([], None, None, "say how many"),
    ],
)
def test_what_isnt_clear_is_refused(
    positional: list[int], server: int | None, train: int | None, message: str
) -> None:
    with pytest.raises(AtlasError, match=message):
        numbers_of(positional, server, train)


def test_servers_and_training_share_no_gpu() -> None:
    assert split(1, 2, ["4", "5", "6", "7"]) == GPUSplit(server=("4",), train=("5", "6"))
    assert split(0, 0, []) == GPUSplit(server=(), train=())
    with pytest.raises(AtlasError, match=r"need 2 \+ 2 GPUs, but 3 can be seen"):
        split(2, 2, ["0", "1", "2"])


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [
        ("0123", [("0", "1"), ("2", "3")]),
        ("012", [("0", "1"), ("2",)]),
        ("0", [("0",), ("0",)]),
        ("", [(), ()]),
    ],
)
def test_two_servers_divide_what_there_is(gpus: str, expected: list[tuple[str, ...]]) -> None:
    assert shares(list(gpus), 2) == expected


@pytest.mark.parametrize(
    ("gpus", "heads", "expected"),
    [(2, 8, 2), (3, 8, 2), (3, 9, 3), (5, 7, 1), (0, 8, 1), (2, 0, 2)],
)
def test_heads_are_divided_evenly(gpus: int, heads: int, expected: int) -> None:
    assert tensor_parallel(gpus, heads) == expected
