"""Rows are admitted by what memory holds, and what is sampled stays the same."""

from __future__ import annotations

import pytest
import torch
from tests.unit.rollouts.local.test_engine import PROMPTS, ending_model, generator, tokens

from atlas.rollouts.generator import Sampling
from atlas.rollouts.local import engine, room
from atlas.rollouts.local.room import rows_in_memory

KINDS = ["llama", "gpt2", "qwen3"]


def room_for(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(room, "memory_limit", lambda **_: (free, "free"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_as_large_as_the_cache_that_the_model_makes(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of what is free: the cache of transformers for 4 rows of 6 tokens, twice."""
    model = ending_model(kind)
    cache = model(torch.ones(4, 6, dtype=torch.long), use_cache=True).past_key_values
    held = sum(x.nbytes for layer in cache.layers for x in (layer.keys, layer.values))
    room_for(monkeypatch, 2 * held)
    assert rows_in_memory(model, 6) == 4
    assert rows_in_memory(model, 12) == 2
    room_for(monkeypatch, 2 * held - 2)
    assert rows_in_memory(model, 6) == 3
    copy = 2 * model.num_parameters()
    room_for(monkeypatch, 2 * held + copy)
    assert rows_in_memory(model, 6, torch.bfloat16) == 8
    room_for(monkeypatch, 0)
    assert rows_in_memory(model, 6) == 1


def test_short_memory_changes_nothing_that_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ending_model()
    sampling = Sampling(max_new_tokens=12, temperature=1.2, top_p=0.9)
    whole = generator(model).generate(PROMPTS, sampling, num_samples=2, seed=3)
    admitted: list[int] = []
    admit = engine.Rows.admit

    def counted(self: engine.Rows, places: list[int]) -> None:
        admit(self, places)
        admitted.append(len(self))

    monkeypatch.setattr(engine.Rows, "admit", counted)
    room_for(monkeypatch, 0)
    cut = generator(model).generate(PROMPTS, sampling, num_samples=2, seed=3)
    assert tokens(cut) == tokens(whole)
    assert max(admitted) == 2  # a group is never cut
