"""Prompts and the completions that belong to them, as tensors.

Shapes: P prompts, B rows (completions), L longest prompt, T longest completion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupBatch:
    """Completions in groups that share a prompt."""

    prompt_ids_PL: Tensor
    prompt_mask_PL: Tensor
    """1 where real; the padding is on the left."""
    prompt_of_B: Tensor
    """Which prompt each row goes on from; rows of one prompt stand side by side."""
    completion_ids_BT: Tensor
    mask_BT: Tensor
    """bool; the padding is on the right."""


def group_batch(
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[int]],
    pad_id: int,
    *,
    group_sizes: Sequence[int] | None = None,
    device: torch.device | str = "cpu",
) -> GroupBatch:
    """Make a batch of prompts and their completions, in the order of the prompts.

    Args:
        prompts: Of token ids.
        completions: Of token ids, those of the first prompt first.
        pad_id: Fills up; any id will do.
        group_sizes: Completions of each prompt, at least 1; None: as many of each.
        device: Of the tensors: the model's.

    Raises:
        ValueError: The completions can't be dealt to the prompts, or one is empty.
    """
    if group_sizes is None:
        if len(completions) % len(prompts):
            raise ValueError(f"{len(completions)} completions for {len(prompts)} prompts")
        group_sizes = [len(completions) // len(prompts)] * len(prompts)
    if min(group_sizes) < 1 or sum(group_sizes) != len(completions):
        raise ValueError(f"{len(completions)} completions for groups of {list(group_sizes)}")
    if not all(len(completion) for completion in completions):
        raise ValueError("a completion is empty")
    device = torch.device(device)
    longest = max(map(len, completions))
    prompt_ids_PL, prompt_mask_PL = left_pad(prompts, pad_id, device)
    right = [list(c) + [pad_id] * (longest - len(c)) for c in completions]
    lengths_B1 = torch.tensor([[len(c)] for c in completions], device=device)
    prompt_of = [p for p, size in enumerate(group_sizes) for _ in range(size)]
    return GroupBatch(
        prompt_ids_PL=prompt_ids_PL,
        prompt_mask_PL=prompt_mask_PL,
        prompt_of_B=torch.tensor(prompt_of, device=device),
        completion_ids_BT=torch.tensor(right, device=device),
        mask_BT=torch.arange(longest, device=device) < lengths_B1,
    )


def left_pad(
    prompts: Sequence[Sequence[int]], pad_id: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return ids [P, L] and mask [P, L] (1 = real), padded on the left."""
    longest = max(len(prompt) for prompt in prompts)
    ids = [[pad_id] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
