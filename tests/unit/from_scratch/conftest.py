"""A tiny model and its tokenizer, as guide A's stages make them."""

from __future__ import annotations

import pytest
from tests.unit.tiny_models import tiny_model
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from atlas.from_scratch.model.tokenizer import train_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    """A tokenizer of bytes and a few words."""
    return train_tokenizer(["Calculate 1 + 2. Answer: 3"] * 2, vocab_size=300)


@pytest.fixture
def model(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """A random model of two layers, equal in every test."""
    return tiny_model(
        vocab_size=len(tokenizer),
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        num_key_value_heads=4,
        max_position_embeddings=256,
    )
