"""Dialogues to token ids with a loss mask: only what the assistant is to learn is counted.

Drawn, for one turn (``#`` is in the loss)::

    <|user|> Task: ... <|end|> <|assistant|> A = 2 * 3. Answer A. <|end|>
    ---------------------------------------- ############################

and for a dialogue with two turns of the assistant::

    <|user|> ... <|assistant|> First ... <|end|> <|user|> ... <|assistant|> Then ... <|end|>
    -------------------------- ################# -------------------------- ################
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from atlas.prompts import Message
from atlas.prompts.chat import answer_ids, encode
from atlas.prompts.templates import NOTHING
from atlas.prompts.thinking import lead_ids, split_text
from atlas.types import Tokens


def make_example(
    tokenizer: PreTrainedTokenizerBase,
    messages: list[Message],
    completion: str,
    *,
    ended: bool = True,
    max_length: int | None = None,
    source: str = "",
) -> Tokens:
    """Return the example that teaches ``completion`` as the answer to ``messages``.

    Args:
        tokenizer: With a chat template.
        ended: Teach the end-of-sequence token too; False where the text breaks off.
        max_length: Longer examples lose their end.
    """
    prompt = encode(tokenizer, messages)
    answer = _turn_ids(tokenizer, prompt, completion, ended=ended)
    ids = [*prompt, *answer][:max_length]
    return _example(ids, [(len(prompt), len(ids))], source)


def dialogue_examples(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    *,
    max_length: int,
    source: str = "",
    given: Mapping[str, Any] = NOTHING,
) -> list[Tokens]:
    """Return examples that teach every turn of the assistant in a dialogue, each turn once.

    That is one example, where the template writes what has been said the same way again when the
    dialogue goes on. Where it doesn't (some take the reasoning out of earlier turns), a turn that
    it rewrote stands in an example of its own, as it was when it was said, and is only read, as
    rewritten, in the next.

    Args:
        tokenizer: With a chat template.
        messages: Any turns; what follows the last one of the assistant is left out.
        max_length: A turn that ends beyond it is left out whole: a text without its end teaches
            not to end.
        source: Kept in the examples.
        given: To the chat template, as ``enable_thinking``.
    """
    examples: list[Tokens] = []
    ids: list[int] = []
    learned: list[tuple[int, int]] = []
    for place, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt = encode(tokenizer, messages[:place], given=given)
        if ids and prompt[: len(ids)] != ids:
            examples.append(_example(ids, learned, source))
            ids, learned = [], []
        answer = _turn_ids(tokenizer, prompt, message["content"], given=given)
        if len(prompt) + len(answer) > max_length:
            break
        ids = [*prompt, *answer]
        learned.append((len(prompt), len(ids)))
    return [*examples, _example(ids, learned, source)] if ids else examples


def _turn_ids(
    tokenizer: PreTrainedTokenizerBase,
    prompt: list[int],
    text: str,
    *,
    ended: bool = True,
    given: Mapping[str, Any] = NOTHING,
) -> list[int]:
    """Return the ids of a turn, with its thoughts marked as the model marks them."""
    thoughts, answer = split_text(text)
    lead = lead_ids(tokenizer, prompt, thoughts)
    return [*lead, *answer_ids(tokenizer, answer, ended=ended, given=given)]


def _example(ids: list[int], learned: list[tuple[int, int]], source: str) -> Tokens:
    # Nothing stands before the first token that could predict it, even where there is no prompt.
    trained = tuple((max(1, start), end) for start, end in learned if max(1, start) < end)
    return Tokens(ids=tuple(ids), trained=trained, source=source)
