"""Messages to token ids through a tokenizer's own chat template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

from atlas.errors import AtlasError
from atlas.prompts import Message, PromptKind, render
from atlas.prompts.templates import template_of, through_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


_turn_ends: WeakKeyDictionary[Any, tuple[str, int]] = WeakKeyDictionary()
"""Tokenizer -> its template, and what ends a turn in it: every example asks."""


def render_ids(tokenizer: PreTrainedTokenizerBase, kind: PromptKind, **values: str) -> list[int]:
    """Return the ids of one prompt, up to where the assistant's answer begins."""
    return encode(tokenizer, render(kind, **values))


@through_template
def encode(tokenizer: PreTrainedTokenizerBase, messages: list[Message]) -> list[int]:
    """Return the ids of messages with the template's opening of the assistant's turn.

    Raises:
        AtlasError: the tokenizer has no chat template, or one that fails.
    """
    ids: Any = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=False
    )
    return list(ids)


def text_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the ids of text that comes from data, and is nothing but text.

    The name of a special token in it is cut as any other word: ``<|end|>`` in a response ends no
    turn. (In a prompt it does: a template writes its own marks and what was said in one text.)
    """
    return tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)


def answer_ids(tokenizer: PreTrainedTokenizerBase, text: str, *, ended: bool = True) -> list[int]:
    """Return the ids of an answer of the assistant, with what ends its turn in the template.

    Args:
        tokenizer: With a chat template.
        text: Comes from data.
        ended: False where the text breaks off.
    """
    ids = text_ids(tokenizer, text)
    return [*ids, turn_end_id(tokenizer)] if ended else ids


@through_template
def turn_end_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the id that ends a turn of the assistant in the tokenizer's own chat template.

    That is the last special token of a turn that the template writes, as ``<end_of_turn>`` in
    Gemma's, whose end of sequence is another; where it writes none, the end of sequence.

    Raises:
        AtlasError: the tokenizer has no chat template, one that fails, or no end at all.
    """
    template, end = _turn_ends.get(tokenizer, (None, 0))
    if template is None or template != template_of(tokenizer):
        end = _last_special(tokenizer)
        _turn_ends[tokenizer] = (template_of(tokenizer), end)
    return end


def _last_special(tokenizer: PreTrainedTokenizerBase) -> int:
    asked: Message = {"role": "user", "content": "a"}
    answered: Message = {"role": "assistant", "content": "b"}
    ids: Any = tokenizer.apply_chat_template([asked, answered], tokenize=True, return_dict=False)
    turn = list(ids)[len(encode(tokenizer, [asked])) :]
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    ends = [token for token in turn if token in special]
    return ends[-1] if ends else token_id(tokenizer, "eos")


def reply_ids(tokenizer: PreTrainedTokenizerBase, said: Sequence[int], reply: str) -> list[int]:
    """Return the ids between a turn of the assistant and its next one, where a user replies.

    Args:
        tokenizer: With a chat template.
        said: The ids of the turn; its end is written here where it isn't the last of them.
        reply: What the user says.

    Raises:
        AtlasError: the template writes earlier turns otherwise once there are later ones.
    """
    talk: list[Message] = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    ids: Any = tokenizer.apply_chat_template(talk, tokenize=True, return_dict=False)
    end, before = turn_end_id(tokenizer), list(ids)
    if end in before:
        before = before[: len(before) - before[::-1].index(end)]
    whole = encode(tokenizer, [*talk, {"role": "user", "content": reply}])
    if whole[: len(before)] != before:
        raise AtlasError(
            f"the chat template of '{tokenizer.name_or_path}' writes earlier turns otherwise once "
            "there are later ones, so that it can't be used for several turns"
        )
    missing = [] if said and said[-1] == end else [end]
    return [*missing, *whole[len(before) :]]


def token_id(tokenizer: PreTrainedTokenizerBase, name: Literal["eos", "pad"]) -> int:
    """Return the id of a special token.

    Raises:
        AtlasError: the tokenizer has none.
    """
    found: Any = tokenizer.eos_token_id if name == "eos" else tokenizer.pad_token_id
    if not isinstance(found, int):
        raise AtlasError(f"tokenizer of '{tokenizer.name_or_path}' has no {name} token")
    return found
