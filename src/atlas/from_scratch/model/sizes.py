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
    """The shape of a decoder: widths, depth, heads, window (tokens), vocabulary."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    window: int
    vocab: int
    """Entries of the tokenizer that is trained for it."""
    reserved: int = 0
    """Rows of the embedding beyond those, for tokens that are added later."""


SIZES: Mapping[str, Size] = {
    "nano": Size(hidden=128, layers=4, heads=4, intermediate=384, window=512, vocab=480),
    "micro": Size(hidden=192, layers=4, heads=6, intermediate=512, window=512, vocab=1024),
    "small": Size(hidden=320, layers=6, heads=5, intermediate=896, window=1024, vocab=2048),
    "125M": Size(hidden=768, layers=12, heads=12, intermediate=2048, window=2048, vocab=52_000),
    "350M": Size(hidden=1024, layers=24, heads=16, intermediate=2688, window=2048, vocab=52_000),
    "1.1B": Size(
        hidden=1536,
        layers=36,
        heads=24,
        intermediate=4096,
        window=2048,
        vocab=52_000,
        reserved=2_048,
    ),
}
"""``1.1B`` has exactly 1,102,345,728 parameters, the number of the guide."""


def size_named(name: str) -> Size:
    """Return a size.

    Raises:
        AtlasError: the name is unknown; the nearest one is named.
    """
    if name not in SIZES:
        near = difflib.get_close_matches(name, SIZES, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(SIZES)}"
        raise AtlasError(f"model size '{name}' does not exist; {hint}")
    return SIZES[name]


def num_parameters(size: Size, vocab_rows: int | None = None) -> int:
    """Return how many parameters a shape has, without making it.

    Args:
        vocab_rows: Rows of the embedding; None: the size's own.

    Example:
        >>> num_parameters(SIZES["1.1B"])
        1102345728
    """
    rows = size.vocab + size.reserved if vocab_rows is None else vocab_rows
    attention = 4 * size.hidden**2
    feed_forward = 3 * size.hidden * size.intermediate
    layer = attention + feed_forward + 2 * size.hidden
    return rows * size.hidden + size.layers * layer + size.hidden


def llama_config(
    size: str, *, vocab_size: int, eos_token_id: int, pad_token_id: int
) -> LlamaConfig:
    """Return the configuration of a named size: tied embedding, RMSNorm, SwiGLU, RoPE.

    Raises:
        AtlasError: the name is unknown; the nearest one is named.
    """
    from transformers import LlamaConfig  # noqa: PLC0415 - slow to import

    shape = size_named(size)
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
