"""Which tokens end a completion: chat models name several, in different places."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedTokenizerBase


def end_ids(tokenizer: PreTrainedTokenizerBase, *configs: Any) -> frozenset[int]:
    """Return all ids that the tokenizer or a configuration names as an end of sequence.

    Args:
        *configs: Its configurations, for example ``model.config``; None where there is none.
    """
    # <|im_end|> here, <|endoftext|> there: a model may say either.
    named = [tokenizer.eos_token_id, *(getattr(config, "eos_token_id", None) for config in configs)]
    ids = [id for name in named for id in (name if isinstance(name, list) else [name])]
    return frozenset(id for id in ids if id is not None)
