"""Dialogues to token ids with a loss mask: only what the assistant is to learn is counted.

Drawn, for one turn (``#`` is in the loss)::

    <|user|> Task: ... <|end|> <|assistant|> A = 2 * 3. Answer A. <|end|>
    ---------------------------------------- ############################

and for a dialogue with two turns of the assistant::

    <|user|> ... <|assistant|> First ... <|end|> <|user|> ... <|assistant|> Then ... <|end|>
    -------------------------- ################# -------------------------- ################
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from atlas.prompts import Message
from atlas.prompts.chat import encode, turn_end_id


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One training example.

    Example: a prompt of three tokens, a completion of two:
        >>> Example(ids=(5, 6, 7, 8, 2), prompt_length=3).num_trained
        2
    """

    ids: tuple[int, ...]
    """[L + T] prompt and completion."""
    prompt_length: int
    """L; these tokens are read, not learned."""
    read: tuple[tuple[int, int], ...] = ()
    """Stretches after the prompt that are read, too: [start, end) of what others said between two
    turns of the assistant; in order, apart from one another."""
    source: str = ""
    """Where it came from, for lineage: a session's id."""
    starts: tuple[int, ...] = ()
    """Where further examples begin that stand in the same row; none sees another (packing.py)."""

    @property
    def num_trained(self) -> int:
        """The tokens in the loss: T, but for those that are only read."""
        after = len(self.ids) - self.first_trained
        return max(0, after) - sum(end - start for start, end in self.read)

    @property
    def first_trained(self) -> int:
        """Where the loss begins: after the prompt, and not before the second token.

        Nothing stands before the first token that could predict it, even where there is no prompt.
        """
        return max(1, self.prompt_length)

    @property
    def num_turns(self) -> int:
        """The turns of the assistant that are learned: each stands between two that are read."""
        return 1 + len(self.read)


def make_example(
    tokenizer: PreTrainedTokenizerBase,
    messages: list[Message],
    completion: str,
    *,
    ended: bool = True,
    max_length: int | None = None,
    source: str = "",
) -> Example:
    """Return the example that teaches ``completion`` as the answer to ``messages``.

    Args:
        tokenizer: With a chat template.
        messages: The prompt.
        completion: What the assistant is to say.
        ended: Teach the end-of-sequence token too; False where the text breaks off.
        max_length: Longer examples lose their end.
        source: Kept for lineage.
    """
    prompt = encode(tokenizer, messages)
    answer = _answer(tokenizer, completion, ended=ended)
    ids = tuple([*prompt, *answer][:max_length])
    return Example(ids=ids, prompt_length=min(len(prompt), len(ids)), source=source)


def dialogue_examples(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    *,
    max_length: int,
    source: str = "",
) -> list[Example]:
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
        source: Kept for lineage.
    """
    examples: list[Example] = []
    ids: list[int] = []
    stretches: list[tuple[int, int]] = []
    """What is read."""
    for place, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt = encode(tokenizer, list(messages[:place]))
        if ids and prompt[: len(ids)] != ids:
            examples.append(_example(ids, stretches, source))
            ids, stretches = [], []
        answer = _answer(tokenizer, message["content"])
        if len(prompt) + len(answer) > max_length:
            break
        stretches.append((len(ids), len(prompt)))
        ids = [*prompt, *answer]
    return [*examples, _example(ids, stretches, source)] if ids else examples


def collate(
    examples: list[Example], pad_id: int, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Pad examples on the right.

    Args:
        examples: One a row.
        pad_id: Fills up.
        device: Of the tensors: the model's.

    Returns:
        ids_BT [B, T] and trained_BT [B, T] bool: True where the token itself is in the loss.
        Causal attention never looks to the right, so the padding needs no attention mask.
    """
    longest = max(len(example.ids) for example in examples)
    ids_BT = torch.full((len(examples), longest), pad_id)
    trained_BT = torch.zeros(len(examples), longest, dtype=torch.bool)
    for row, example in enumerate(examples):
        ids_BT[row, : len(example.ids)] = torch.tensor(example.ids)
        trained_BT[row, example.first_trained : len(example.ids)] = True
        for start, end in example.read:
            trained_BT[row, start:end] = False
    return ids_BT.to(device), trained_BT.to(device)


def _example(ids: list[int], stretches: list[tuple[int, int]], source: str) -> Example:
    (_, prompt_length), *read = stretches
    return Example(ids=tuple(ids), prompt_length=prompt_length, read=tuple(read), source=source)


def _answer(tokenizer: PreTrainedTokenizerBase, text: str, *, ended: bool = True) -> list[int]:
    ids = tokenizer.encode(text, add_special_tokens=False)
    return [*ids, turn_end_id(tokenizer)] if ended else ids
