"""A key/value cache that grows in place.

`transformers.DynamicCache` copies the whole cache for every new token. This one keeps room for more
tokens than it holds and writes new ones into it; what it hands to the model is a view. A batch of
rows that all write at the same place needs nothing more.

Shapes: B rows, H heads, L tokens held, D width of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer

_ROOM = 32
"""Tokens of room that are made at a time."""


class GrowingLayer(DynamicLayer):
    """One layer's keys and values: views into buffers with room at their end."""

    def __init__(self) -> None:
        super().__init__()
        self._buffers: tuple[Tensor, Tensor] | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write new keys and values [B, H, new, D]; returns all of them [B, H, L, D]."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        held = self.get_seq_length()
        total = held + key_states.shape[2]
        if self._buffers is None or self._buffers[0].shape[2] < total:
            self._buffers = (
                _with_room(self.keys, key_states, held, total),
                _with_room(self.values, value_states, held, total),
            )
        keys, values = self._buffers
        keys[:, :, held:total] = key_states
        values[:, :, held:total] = value_states
        self.keys, self.values = keys[:, :, :total], values[:, :, :total]
        return self.keys, self.values

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row; the new rows get buffers of their own."""
        super().batch_repeat_interleave(repeats)
        self._buffers = None

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only these rows, in buffers of their own."""
        super().batch_select_indices(indices)
        self._buffers = None


class GrowingCache(DynamicCache):
    """A `DynamicCache` for generation without gradients whose full-attention layers grow in place.

    Layers of other kinds (sliding windows) stay as `transformers` makes them. Under autocast keys
    come in float32 and are rounded when they are attended to; here they are held rounded already.
    """

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config=config)
        self.layers = [
            GrowingLayer() if type(layer) is DynamicLayer else layer for layer in self.layers
        ]

    def update(
        self,
        key_states: Tensor,
        value_states: Tensor,
        layer_idx: int,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor]:
        """Write a layer's new keys and values [B, H, new, D]; returns all of them [B, H, L, D]."""
        device = key_states.device.type
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            key_states, value_states = key_states.to(dtype), value_states.to(dtype)
        return super().update(key_states, value_states, layer_idx, *args, **kwargs)


def _with_room(held: Tensor | None, new: Tensor, length: int, total: int) -> Tensor:
    """Return a buffer for ``total`` tokens and some more, with what was held at its start."""
    rows, heads, _, width = new.shape
    buffer = new.new_empty(rows, heads, total + _ROOM, width)
    if held is not None and length:
        buffer[:, :, :length] = held
    return buffer
