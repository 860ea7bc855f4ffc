"""The cache that grows in place holds what the copying one holds."""

from __future__ import annotations

import torch
from transformers import DynamicCache, LlamaConfig

from atlas.rollouts.local.growing_cache import GrowingCache


def test_it_holds_what_a_dynamic_cache_holds_through_growth_repeats_and_selection() -> None:
    config = LlamaConfig(num_hidden_layers=2, num_attention_heads=2, hidden_size=8)
    growing, copying = GrowingCache(config), DynamicCache(config=config)
    torch.manual_seed(0)
    rows = 2

    def write(num_tokens: int) -> None:
        for layer in range(2):
            keys, values = torch.randn(2, rows, 2, num_tokens, 4)
            ours = growing.update(keys, values, layer)
            theirs = copying.update(keys, values, layer)
            for left, right in zip(ours, theirs, strict=True):
                assert torch.equal(left, right)

    write(5)
    for cache in (growing, copying):
        cache.batch_repeat_interleave(3)
    rows = 6
    for _ in range(40):  # past the room of one buffer
        write(1)
    for cache in (growing, copying):
        cache.batch_select_indices(torch.tensor([4, 0, 1]))
    rows = 3
    write(1)
    assert growing.get_seq_length() == copying.get_seq_length() == 46


def test_rows_made_by_repeating_do_not_share_memory() -> None:
    config = LlamaConfig(num_hidden_layers=1, num_attention_heads=1, hidden_size=4)
    cache = GrowingCache(config)
    cache.update(torch.ones(1, 1, 1, 4), torch.ones(1, 1, 1, 4), 0)
    cache.batch_repeat_interleave(2)
    new = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1).expand(2, 1, 1, 4)
    keys, _ = cache.update(new, new, 0)
    assert keys[:, 0, :, 0].tolist() == [[1.0, 1.0], [1.0, 2.0]]
