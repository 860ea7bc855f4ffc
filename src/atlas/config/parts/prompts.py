"""Configuration of how models are spoken to: which prompts they read, what their templates get."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from atlas.config.grammar.schema import Part, key


@dataclass(frozen=True, kw_only=True)
class PromptsConfig(Part):
    """How the teacher, the model that is trained, is spoken to."""

    prompts: str = key(
        "auto",
        "What teacher and student are asked: plain (made for the shipped model), chat (for real "
        "chat models), small (for those of a few hundred million weights), small_examples (the "
        "same, with examples for a teacher before its training), or a folder with files of your "
        "own, which take the place of those of the same name. auto: what the model was trained "
        "with, else plain for one with the chat template of the shipped model and chat for any "
        "other.",
    )
    chat_template_kwargs: Mapping[str, bool | int | float | str] | None = key(
        None,
        "What the chat template of the teacher (the policy) is given besides the messages, as in "
        "{enable_thinking: false}; null: what it was given in its training, if that is known.",
    )
