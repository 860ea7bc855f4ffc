"""Messages to token ids through a tokenizer's own chat template."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from atlas.errors import AtlasError
from atlas.prompts import Message, PromptKind, render

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def render_ids(tokenizer: PreTrainedTokenizerBase, kind: PromptKind, **values: str) -> list[int]:
    """Return the ids of one prompt, up to where the assistant's answer begins."""
    return encode(tokenizer, render(kind, **values))


def encode(tokenizer: PreTrainedTokenizerBase, messages: list[Message]) -> list[int]:
    """Return the ids of messages with the template's opening of the assistant's turn.

    Raises:
        AtlasError: the tokenizer has no chat template.
    """
    if not tokenizer.chat_template:
        raise AtlasError(
            f"tokenizer of '{tokenizer.name_or_path}' has no chat template; "
            "use a chat model or add chat_template.jinja to its folder"
        )
    ids: Any = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=False
    )
    return list(ids)


def token_id(tokenizer: PreTrainedTokenizerBase, name: Literal["eos", "pad"]) -> int:
    """Return the id of a special token.

    Raises:
        AtlasError: the tokenizer has none.
    """
    found: Any = tokenizer.eos_token_id if name == "eos" else tokenizer.pad_token_id
    if not isinstance(found, int):
        raise AtlasError(f"tokenizer of '{tokenizer.name_or_path}' has no {name} token")
    return found
