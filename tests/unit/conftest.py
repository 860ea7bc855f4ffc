"""A tiny model with a real tokenizer, saved to disk as users have theirs; a user who stops."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from atlas.data.tasks import mixed_tasks
from atlas.from_scratch.model.tokenizer import train_tokenizer
from atlas.models.checkpoints import save_model
from atlas.run.progress import Silent
from atlas.run.stopping import StopRequest
from atlas.types import Task

FAMILIES = ("basic_arithmetic", "chain_sum")


class StopAfter(Silent):
    """Asks for a stop once so many steps are done."""

    def __init__(self, stop: StopRequest, steps: int) -> None:
        self.stop, self.steps, self.left = stop, steps, steps

    def begin(self, total: int, done: int = 0) -> None:
        """Count anew: what was begun before was no step."""
        self.stop.asked, self.left = False, self.steps

    def advance(self, units: int = 1, note: str = "") -> None:
        """Count down."""
        self.left -= units
        self.stop.asked = self.left <= 0


@pytest.fixture(scope="session")
def tasks() -> list[Task]:
    """Twelve tasks of two families."""
    return mixed_tasks(FAMILIES, 12, seed=3)


@pytest.fixture(scope="session")
def tokenizer(tasks: list[Task]) -> PreTrainedTokenizerBase:
    """A tokenizer trained on the tasks."""
    texts = [f"{task.question} Answer: {task.answer}" for task in tasks]
    return train_tokenizer(texts, vocab_size=300)


@pytest.fixture
def model(tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    """A random model of two layers, equal in every test."""
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=256,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            initializer_range=0.2,
        )
    )


@pytest.fixture
def model_folder(
    tmp_path: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase
) -> Path:
    """The model and its tokenizer on disk."""
    save_model(tmp_path / "model", model, tokenizer)
    return tmp_path / "model"
