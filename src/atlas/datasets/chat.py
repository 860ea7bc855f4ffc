"""Dialogues to token ids with a loss mask: only what the assistant is to learn is counted.

Drawn, for one turn (``#`` is in the loss)::

    <|user|> Task: ... <|end|> <|assistant|> A = 2 * 3. Answer A. <|end|>
    ---------------------------------------- ############################
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from atlas.prompts import Message
from atlas.prompts.chat import encode, token_id


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
    source: str = ""
    """Where it came from, for lineage: a session's id."""

    @property
    def num_trained(self) -> int:
        """T, the tokens in the loss."""
        return len(self.ids) - self.prompt_length


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
    answer = tokenizer.encode(completion, add_special_tokens=False)
    if ended:
        answer.append(token_id(tokenizer, "eos"))
    ids = tuple([*prompt, *answer][:max_length])
    return Example(ids=ids, prompt_length=min(len(prompt), len(ids)), source=source)


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
        trained_BT[row, example.prompt_length : len(example.ids)] = True
    return ids_BT.to(device), trained_BT.to(device)
