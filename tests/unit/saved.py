"""A checkpoint as a training's processes write it, without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from atlas.models.checkpoints import begin_checkpoint, finish_checkpoint
from atlas.models.lora import is_adapted
from atlas.models.parts import write_part
from atlas.parallel.engine.plain import PlainEngine


def save_checkpoint(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *states: dict[str, Any],
) -> None:
    """Write a checkpoint in as many parts as there are states."""
    engine = PlainEngine(model, learning_rate=0.1, total_steps=1)
    temporary = begin_checkpoint(folder, model, tokenizer)
    num = len(states)
    parts = [
        write_part(
            temporary,
            {} if is_adapted(model) else engine.weights(part, num),
            state,
            part,
            num,
        )
        for part, state in enumerate(states)
    ]
    finish_checkpoint(folder, temporary, parts)
