"""How one model is spoken to: its tokenizer, its prompts, what its chat template is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from atlas.prompts import PromptKind, Prompts
from atlas.prompts.chat import (
    answer_ids,
    encode,
    has_system_role,
    has_tool_role,
    reply_ids,
    text_ids,
)
from atlas.prompts.thinking import lead_ids, said
from atlas.types import Completion

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True, slots=True)
class Renderer:
    """Turns what is said to a model, and what it says, into token ids."""

    tokenizer: PreTrainedTokenizerBase
    """With a chat template."""
    prompts: Prompts
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Given to the chat template, as ``enable_thinking``."""

    @property
    def folds_system_prompts(self) -> bool:
        """System prompts begin the user's first message: the chat template has no role for them."""
        systems = [name for name in self.prompts.texts if name.endswith(".system.txt")]
        return bool(systems) and not has_system_role(self.tokenizer, given=self.template_kwargs)

    @property
    def knows_tools(self) -> bool:
        """The chat template shows the tools that it is given, and what they return."""
        return has_tool_role(self.tokenizer, given=self.template_kwargs)

    def prompt(self, kind: PromptKind, **values: str) -> list[int]:
        """Return the ids of one prompt, up to where the assistant's answer begins."""
        return self.encode(self.prompts.render(kind, **values))

    def encode(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """Return the ids of messages with the template's opening of the assistant's turn."""
        return encode(self.tokenizer, messages, given=self.template_kwargs)

    def answer(self, text: str, *, ended: bool = True) -> list[int]:
        """Return the ids of an answer of the assistant, with what ends its turn if it ended."""
        return answer_ids(self.tokenizer, text, ended=ended, given=self.template_kwargs)

    def said(self, completion: Completion) -> Completion:
        """Return a completion whose text is what it says to others, with its thoughts apart."""
        return said(self.tokenizer, completion)

    def lead(self, prompt: Sequence[int]) -> list[int]:
        """Return the ids between a prompt and an answer without thoughts, see `lead_ids`."""
        return lead_ids(self.tokenizer, prompt)

    def text(self, text: str) -> list[int]:
        """Return the ids of text that comes from data, and is nothing but text."""
        return text_ids(self.tokenizer, text)

    def reply(self, said: Sequence[int], reply: str) -> list[int]:
        """Return the ids between a turn of the assistant and its next one, see `reply_ids`."""
        return reply_ids(self.tokenizer, said, reply, given=self.template_kwargs)
