"""Ends of sequence, wherever they are named."""

from __future__ import annotations

from types import SimpleNamespace

from tests.unit.tiny_models import END, tiny_tokenizer

from atlas.rollouts.end_tokens import end_ids


def test_tokenizer_and_configurations_count_one_id_or_several() -> None:
    several = SimpleNamespace(eos_token_id=[7, 9])
    none = SimpleNamespace(eos_token_id=None)
    assert end_ids(tiny_tokenizer(), several, none, None, SimpleNamespace()) == {END, 7, 9}
