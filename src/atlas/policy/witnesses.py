"""Witness texts: token ids that server and trainer both score, to see that their weights are equal.

They are drawn from the whole vocabulary by a fixed seed: unlikely tokens in an unlikely order are
where a change of any weight shows, so that few will do: both sides compute them after every step.
Short ones are scored whole. A long one fills a block of the server's prefix cache (128 tokens on a
CPU), which must have been emptied, and is continued as in training.

Shapes: N scored tokens of all texts.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from atlas.models.passes.forward import logprobs
from atlas.types import Tokens

Text = tuple[int, ...]

_SHORT, _NUM_SHORT = 16, 6
_LONG, _NUM_LONG = 140, 1
CONTINUED = 4
"""Tokens that a long text is continued by."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Witnesses:
    """What is scored."""

    short: tuple[Text, ...]
    long: tuple[Text, ...]


def make_witnesses(vocab_size: int, window: int, avoid: frozenset[int] = frozenset()) -> Witnesses:
    """Return the same texts for the same model.

    Args:
        vocab_size: Ids are below it.
        window: Tokens that the model takes.
        avoid: Ids that would end a text.
    """
    chance = random.Random(vocab_size)
    ids = [id for id in range(vocab_size) if id not in avoid]

    def texts(count: int, length: int) -> tuple[Text, ...]:
        length = min(length, max(2, window - CONTINUED - 1))
        return tuple(tuple(chance.choices(ids, k=length)) for _ in range(count))

    return Witnesses(short=texts(_NUM_SHORT, _SHORT), long=texts(_NUM_LONG, _LONG))


@torch.no_grad()
def trainer_scores(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[int]],
    *,
    temperature: float = 1.0,
) -> Tensor:
    """Return the log-probabilities of continuations after their prompts, [N] on the CPU.

    Args:
        model: The trainer's; left in the mode that it was in.
        continuations: Token ids, one continuation a prompt.
        temperature: Logits are divided by it.
    """
    rows = [Tokens.of(*pair) for pair in zip(prompts, continuations, strict=True)]
    was_training = model.training
    model.eval()
    try:
        found = logprobs(model, rows, temperature=temperature)
    finally:
        model.train(was_training)
    return found.logprobs_BT[found.mask_BT].float().cpu()
