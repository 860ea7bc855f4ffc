"""Ranked records to tensors: token ids, optimiser steps, micro-batches of groups.

Input: `RankedRecord`s and a tokenizer. Output: `RankedExample`s; lists of them, one a step; and
`RankedBatch`es, in which the K responses of a prompt are a group that shares it.

Shapes: P prompts, K responses each, B = P * K rows, T longest response.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from atlas.data.ranked import RankedRecord
from atlas.models.passes.group_batch import GroupBatch, group_batch
from atlas.prompts.chat import encode, text_ids, token_id
from atlas.run.seeding import derive_seed

S = TypeVar("S")


@dataclass(frozen=True, kw_only=True, slots=True)
class RankedExample:
    """One record as token ids."""

    prompt_ids: tuple[int, ...]
    response_ids: tuple[tuple[int, ...], ...]
    """[K][T], each with its end-of-sequence token."""
    scores: tuple[float, ...]
    """[K] higher is better."""

    @property
    def num_trained(self) -> int:
        """Tokens of all responses."""
        return sum(len(ids) for ids in self.response_ids)

    @property
    def num_tokens(self) -> int:
        """Tokens of the prompt, counted once, and of all responses."""
        return len(self.prompt_ids) + self.num_trained

    @property
    def longest(self) -> int:
        """Tokens of the longest response."""
        return max(len(ids) for ids in self.response_ids)


@dataclass(frozen=True, kw_only=True, slots=True)
class RankedBatch:
    """Examples with equally many responses, as tensors."""

    groups: GroupBatch
    scores_PK: Tensor


def ranked_examples(
    records: Sequence[RankedRecord],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    whole: bool = False,
) -> tuple[list[RankedExample], Counter[str]]:
    """Return the records as token ids, and what was left out, by reason.

    Args:
        records: As read.
        tokenizer: With a chat template; a prompt is a user's turn, a response the assistant's.
        max_length: Tokens of prompt and response together; a longer response is left out, and a
            record that has none left.
        whole: Leave out a record whose best response is too long as well: the best of the others
            is nothing to prefer.
    """
    end = token_id(tokenizer, "eos")
    examples: list[RankedExample] = []
    left_out: Counter[str] = Counter()
    for record in records:
        prompt = tuple(encode(tokenizer, [{"role": "user", "content": record.prompt}]))
        encoded = [(*text_ids(tokenizer, text), end) for text in record.responses]
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
            RankedExample(
                prompt_ids=prompt,
                response_ids=tuple(encoded[k] for k in kept),
                scores=tuple(record.scores[k] for k in kept),
            )
        )
    return examples, left_out


def ranked_steps(
    examples: Sequence[RankedExample], *, batch_size: int, num_steps: int, first: int, seed: int
) -> Iterator[list[RankedExample]]:
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


def token_steps(
    examples: Sequence[RankedExample], *, tokens: int, seed: int
) -> list[list[RankedExample]]:
    """Cut all examples into steps of at most ``tokens`` tokens, each prompt counted once.

    Neighbours in length come together, so that little is padded; one example goes through whatever
    it takes.
    """
    order = _shuffled(len(examples), derive_seed(seed, "pretrain ties"))
    order.sort(key=lambda i: (len(examples[i].scores), examples[i].longest))
    steps: list[list[RankedExample]] = []
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


def micro_batches(
    examples: Sequence[RankedExample],
    max_tokens: int,
    pad_id: int,
    device: torch.device,
    *,
    shared: bool = True,
) -> Iterator[RankedBatch]:
    """Cut a step into batches of at most ``max_tokens`` tokens; one example at least.

    Args:
        examples: Of the step.
        max_tokens: Computed in one pass.
        pad_id: Fills up; any id will do.
        device: Of the tensors: the model's.
        shared: Each prompt is computed once for its responses, and nothing is padded.
    """
    batch: list[RankedExample] = []
    for example in sorted(examples, key=lambda e: (len(e.scores), e.longest)):
        same = not batch or len(batch[0].scores) == len(example.scores)
        if batch and (not same or num_tokens([*batch, example], shared=shared) > max_tokens):
            yield _batch(batch, pad_id, device)
            batch = []
        batch.append(example)
    if batch:
        yield _batch(batch, pad_id, device)


def _batch(examples: Sequence[RankedExample], pad_id: int, device: torch.device) -> RankedBatch:
    groups = group_batch(
        [example.prompt_ids for example in examples],
        [ids for example in examples for ids in example.response_ids],
        pad_id,
        device=device,
    )
    return RankedBatch(
        groups=groups, scores_PK=torch.tensor([e.scores for e in examples], device=device)
    )


def num_tokens(examples: Sequence[RankedExample], *, shared: bool) -> int:
    """Return the tokens that one pass over the examples computes."""
    if shared:
        return sum(example.num_tokens for example in examples)
    longest_prompt = max(len(example.prompt_ids) for example in examples)
    rows = sum(len(example.response_ids) for example in examples)
    return rows * (longest_prompt + max(example.longest for example in examples))


def _shuffled(size: int, seed: int) -> list[int]:
    order = list(range(size))
    random.Random(seed).shuffle(order)
    return order
