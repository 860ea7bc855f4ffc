"""Which attention a model runs with, checked before anything is loaded."""

from __future__ import annotations

from transformers.utils.import_utils import is_flash_attn_2_available

from atlas.config.model import AttnImplementation
from atlas.errors import AtlasError


def checked_attention(choice: AttnImplementation) -> str | None:
    """Return what `transformers` is told; None leaves it the choice.

    Raises:
        AtlasError: FlashAttention is asked for and can't run here.
    """
    if choice == "flash_attention_2" and not is_flash_attn_2_available():
        raise AtlasError(
            "attn_implementation=flash_attention_2 needs a CUDA GPU and the package flash-attn, "
            "which are not both here; set attn_implementation=sdpa, which every machine has"
        )
    return None if choice == "auto" else choice
