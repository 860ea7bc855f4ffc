"""The loops of guide A are tested on the same tiny model as those of guide B."""

from __future__ import annotations

from tests.unit.conftest import model, tasks, tokenizer

__all__ = ["model", "tasks", "tokenizer"]
