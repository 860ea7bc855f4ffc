"""The bookkeeping of rows: limits, ends, leaving, entering."""

from __future__ import annotations

import torch
from torch import Tensor

from atlas.rollouts.local.rows import Rows

END = 1


def make(limits: list[int]) -> Rows:
    limits_N = torch.tensor(limits)
    return Rows(limits_N, torch.arange(len(limits)) * 10, frozenset({END}), None)


def record(rows: Rows, tokens: list[int]) -> None:
    tokens_B = torch.tensor(tokens)
    rows.record(tokens_B, -tokens_B / 10)


def test_rows_end_at_their_limit_or_by_an_end_and_what_follows_is_dropped() -> None:
    rows = make([3, 2, 3])
    rows.admit([0, 1, 2])
    record(rows, [5, 6, END])
    record(rows, [7, 8, 9])
    assert rows.num_running() == 1
    record(rows, [END, END, 9])
    assert rows.num_running() == 0
    first, second, third = rows.results()
    assert (first.token_ids, first.stopped) == ((5, 7, END), True)
    assert (second.token_ids, second.stopped) == ((6, 8), False)
    assert (third.token_ids, third.stopped) == ((END,), True)
    torch.testing.assert_close(torch.tensor(first.logprobs), torch.tensor([-0.5, -0.7, -0.1]))


def test_rows_that_leave_and_enter_keep_their_own_tokens_keys_and_places() -> None:
    rows = make([4, 4, 4, 4])
    rows.admit([2, 0])
    record(rows, [END, 5])
    assert rows.compact() == [1]
    rows.admit([3, 1])
    assert len(rows) == 3
    assert rows.keys_B.tolist() == [0, 30, 10]
    assert rows.positions_B.tolist() == [1, 0, 0]
    record(rows, [6, 7, END])
    assert rows.compact() == [0, 1]
    assert rows.positions_B.tolist() == [2, 1]
    record(rows, [END, END])
    assert rows.compact() == []
    tokens = [row.token_ids for row in rows.results()]
    assert tokens == [(5, 6, END), (END,), (END,), (7, END)]


def test_rows_that_have_ended_stay_so_when_others_enter_beside_them() -> None:
    rows = make([1, 4, 4])
    rows.admit([0, 1])
    record(rows, [5, END])
    rows.admit([2])
    assert rows.num_running() == 1
    record(rows, [6, 7, 8])
    assert rows.compact() == [2]
    assert [row.token_ids for row in rows.results()] == [(5,), (END,), (8,)]


def test_texts_end_rows_too() -> None:
    class SecondToken:
        """Finds its text in rows that hold a 7 in second place."""

        def complete(self, given: list[list[int]]) -> list[bool]:
            return [row[1:2] == [7] for row in given]

    texts: Tensor = torch.tensor([5, 5])
    rows = Rows(texts, torch.zeros_like(texts), frozenset({END}), SecondToken())  # pyright: ignore[reportArgumentType]
    rows.admit([0, 1])
    record(rows, [7, 7])
    record(rows, [8, 7])
    assert rows.compact() == [0]
    record(rows, [END])
    assert [(row.token_ids, row.stopped) for row in rows.results()] == [
        ((7, 8, END), True),
        ((7, 7), True),
    ]
