"""Named shapes of small models, all stock `LlamaForCausalLM`.

Input: a size name. Output: a `LlamaConfig`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from atlas.errors import AtlasError

if TYPE_CHECKING:
    from transformers import LlamaConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """The shape of a decoder: widths, depth, heads, window (tokens)."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    window: int


SIZES: Mapping[str, Size] = {
    "nano": Size(hidden=128, layers=4, heads=4, intermediate=384, window=512),
    "micro": Size(hidden=192, layers=4, heads=6, intermediate=512, window=512),
}


def llama_config(
    size: str, *, vocab_size: int, eos_token_id: int, pad_token_id: int
) -> LlamaConfig:
    """Return the configuration of a named size: tied embedding, RMSNorm, SwiGLU, RoPE.

    Raises:
        AtlasError: the name is unknown; the nearest one is named.
    """
    from transformers import LlamaConfig  # noqa: PLC0415 - slow to import

    if size not in SIZES:
        near = difflib.get_close_matches(size, SIZES, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(SIZES)}"
        raise AtlasError(f"model size '{size}' does not exist; {hint}")
    shape = SIZES[size]
    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.window,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=eos_token_id,
        pad_token_id=pad_token_id,
    )
