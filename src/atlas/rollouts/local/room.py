"""How many rows the memory of this device holds the keys and values of."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from atlas.parallel.world import world
from atlas.planning.memory_plan import memory_limit
from atlas.planning.model_shapes import cache_width

_SHARE = 0.5
"""Of what is free: where rows leave, those that stay are copied."""


def rows_in_memory(model: PreTrainedModel, longest: int, dtype: torch.dtype | None = None) -> int:
    """Return how many rows fit, at least one.

    Args:
        model: Is sampled from.
        longest: Tokens of the longest row, prompt included.
        dtype: Of keys and values; None: that of the weights. Another one is sampled from a copy.
    """
    free, _ = memory_limit(processes=world().local_size)
    if torch.cuda.is_available():
        free += torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    size = (dtype or model.dtype).itemsize
    if dtype not in (None, model.dtype):
        free -= size * model.num_parameters()
    text = model.config.get_text_config()
    row = 2 * text.num_hidden_layers * cache_width(text) * size * longest
    return max(1, int(_SHARE * free) // max(row, 1))
