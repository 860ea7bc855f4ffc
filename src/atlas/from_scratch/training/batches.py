"""Ranked records to token ids, and to optimiser steps.

Input: `RankedRecord`s and a tokenizer. Output: for each prompt a group of its responses, whose
score is their ``advantage``; lists of groups, one a step; and what a loss compares, by prompt.

Shapes: P prompts, K responses each, B = P * K rows.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from atlas.data.ranked import RankedRecord
from atlas.models.passes.padded import right_padded
from atlas.prompts.chat import answer_ids, encode
from atlas.run.seeding import derive_seed
from atlas.training.micro_batches import Group, num_tokens
from atlas.types import Tokens

S = TypeVar("S")


def ranked_group(
    prompt: Sequence[int], responses: Sequence[Sequence[int]], scores: Sequence[float]
) -> Group:
    """Return the responses to a prompt, with their scores."""
    pairs = zip(responses, scores, strict=True)
    return [Tokens.of(prompt, response, advantage=score) for response, score in pairs]


def ranked_examples(
    records: Sequence[RankedRecord],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    whole: bool = False,
) -> tuple[list[Group], Counter[str]]:
    """Return the records as token ids, and what was left out, by reason.

    Args:
        records: As read.
        tokenizer: With a chat template; a prompt is a user's turn, a response the assistant's.
        max_length: Tokens of prompt and response together; a longer response is left out, and a
            record that has none left.
        whole: Leave out a record whose best response is too long as well: the best of the others
            is nothing to prefer.
    """
    examples: list[Group] = []
    left_out: Counter[str] = Counter()
    for record in records:
        prompt = encode(tokenizer, [{"role": "user", "content": record.prompt}])
        encoded = [answer_ids(tokenizer, text) for text in record.responses]
        kept = [k for k, ids in enumerate(encoded) if len(prompt) + len(ids) <= max_length]
        if len(kept) < len(encoded):
            left_out["responses longer than max_seq_length"] += len(encoded) - len(kept)
        if not kept:
            left_out["prompts without a response left"] += 1
            continue
        if whole and max(record.scores[k] for k in kept) < max(record.scores):
            left_out["prompts whose best response is longer"] += 1
            continue
        examples.append(
            ranked_group(prompt, [encoded[k] for k in kept], [record.scores[k] for k in kept])
        )
    return examples, left_out


def ranked_steps(
    examples: Sequence[Group], *, batch_size: int, num_steps: int, first: int, seed: int
) -> Iterator[list[Group]]:
    """Yield the examples of steps ``first`` to ``num_steps``; each epoch has its own order."""
    order: list[int] = []
    epoch = 0
    for step in range(num_steps):
        while len(order) < batch_size:
            order += _shuffled(len(examples), derive_seed(seed, "ranked order", epoch))
            epoch += 1
        chosen, order = order[:batch_size], order[batch_size:]
        if step >= first:
            yield [examples[i] for i in chosen]


def token_steps(examples: Sequence[Group], *, tokens: int, seed: int) -> list[list[Group]]:
    """Cut all examples into steps of at most ``tokens`` tokens, each prompt counted once.

    Neighbours in length come together, so that little is padded; one example goes through whatever
    it takes.
    """
    order = _shuffled(len(examples), derive_seed(seed, "pretrain ties"))
    order.sort(key=lambda i: (len(examples[i]), max(row.num_own for row in examples[i])))
    steps: list[list[Group]] = []
    for i in order:
        example = examples[i]
        if not steps or num_tokens([*steps[-1], example], shared=True) > tokens:
            steps.append([])
        steps[-1].append(example)
    return steps


def repeated_steps(steps: Sequence[S], *, num_steps: int, first: int, seed: int) -> Iterator[S]:
    """Yield the steps epoch after epoch, each in its own order, from step ``first`` on."""
    for epoch in range(first // len(steps), num_steps // len(steps) + 1):
        order = _shuffled(len(steps), derive_seed(seed, "pretrain order", epoch))
        for place, index in enumerate(order, start=epoch * len(steps)):
            if first <= place < num_steps:
                yield steps[index]


def by_prompt(values_B: Tensor, groups: Sequence[Group]) -> tuple[Tensor, Tensor, Tensor]:
    """Return values and scores of responses by prompt, both [P, K], and the mask of what is there.

    Args:
        values_B: One a response, in the order of the groups.
        groups: Of a micro-batch.
    """
    device = values_B.device
    mask_PK = right_padded([[True] * len(group) for group in groups], device, torch.bool)
    scores_PK = right_padded([[row.advantages[0] for row in group] for group in groups], device)
    values_PK = values_B.new_zeros(mask_PK.shape).masked_scatter(mask_PK, values_B)
    return values_PK, scores_PK, mask_PK


def num_trained(groups: Sequence[Group]) -> int:
    """Return the tokens of all responses."""
    return sum(row.num_trained for group in groups for row in group)


def _shuffled(size: int, seed: int) -> list[int]:
    order = list(range(size))
    random.Random(seed).shuffle(order)
    return order
