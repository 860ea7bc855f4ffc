"""Attention over prompts held once a group, against every row with keys of its own."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from atlas.rollouts.local import shared_cache
from atlas.rollouts.local.shared_cache import SharedCache, attention_part

HEADS, REPEATS, WIDTH = 2, 3, 4


class Plain:
    """Every row with all of its keys and values."""

    def __init__(self) -> None:
        self.rows: list[tuple[Tensor, Tensor]] = []

    def admit(self, keys: Tensor, values: Tensor, lengths: list[int], num_samples: int) -> None:
        for p, length in enumerate(lengths):
            self.rows += [(keys[p, :, :length], values[p, :, :length])] * num_samples

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        found: list[Tensor] = []
        for row, (held_keys, held_values) in enumerate(self.rows):
            all_keys = torch.cat([held_keys, keys[row].unsqueeze(1)], dim=1)
            all_values = torch.cat([held_values, values[row].unsqueeze(1)], dim=1)
            self.rows[row] = all_keys, all_values
            shares = (queries[row] @ all_keys.transpose(1, 2)).softmax(dim=-1)
            found.append(shares @ all_values)
        return torch.stack(found)


@pytest.mark.parametrize("seed", range(4))
def test_rows_that_enter_and_leave_at_random_attend_as_if_each_were_alone(seed: int) -> None:
    source = random.Random(seed)
    torch.manual_seed(seed)
    cache, plain = SharedCache(), Plain()
    for _ in range(60):
        if source.random() < 0.1 or not plain.rows:
            lengths = [source.randint(1, 9) for _ in range(source.randint(1, 3))]
            keys, values = torch.randn(2, len(lengths), HEADS, max(lengths), WIDTH).double()
            num_samples = source.randint(1, 4)
            cache.admit([(keys, values)], lengths, num_samples)
            plain.admit(keys, values, lengths, num_samples)
        num = len(plain.rows)
        queries = torch.randn(num, HEADS, REPEATS, WIDTH).double()
        keys, values = torch.randn(2, num, HEADS, WIDTH).double()
        cache.begin_step()
        found = cache.attend(0, queries, keys, values)
        torch.testing.assert_close(found, plain.attend(queries, keys, values), rtol=0, atol=1e-9)
        if source.random() < 0.2:
            kept = sorted(source.sample(range(num), source.randint(0, num)))
            cache.keep(kept)
            plain.rows = [plain.rows[row] for row in kept]


def test_the_products_one_after_another_are_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs on other devices gives what the processor's kernel gives."""
    torch.manual_seed(0)
    queries, keys, values = torch.randn(3, 2, HEADS, 5, WIDTH)
    mask = torch.zeros(2, 1, 1, 5)
    mask[0, ..., 3:] = float("-inf")
    kernel = attention_part(queries, keys, values, mask)
    monkeypatch.setattr(shared_cache, "_HAS_KERNEL", ())
    products = attention_part(queries, keys, values, mask)
    for left, right in zip(kernel, products, strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=1e-6)


def test_rows_that_entered_late_are_not_spoilt_by_what_memory_held() -> None:
    """NaN in columns that a late row doesn't see: 0 * NaN would be NaN."""
    torch.manual_seed(0)
    cache = SharedCache()
    ones = torch.ones(1, HEADS, 2, WIDTH)
    cache.admit([(ones, ones)], [2], 1)
    cache.begin_step()
    new = torch.ones(1, HEADS, WIDTH)
    cache.attend(0, torch.ones(1, HEADS, 1, WIDTH), new, new)
    cache.admit([(ones, ones)], [2], 1)
    cache.begin_step()
    new = torch.ones(2, HEADS, WIDTH)
    found = cache.attend(0, torch.ones(2, HEADS, 1, WIDTH), new, new)
    torch.testing.assert_close(found, torch.ones_like(found))
