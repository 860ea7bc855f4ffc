"""The attention of `prefix_attention.py` on a GPU: one kernel over the packed row.

FlexAttention leaves out every block of 128 x 128 scores in which no token sees another, so that a
completion costs what its prompt and itself cost, and heads that share keys share them in the
kernel: nothing is repeated. It is compiled on a GPU, for the second length for all lengths.

Shapes: N tokens of the row, P prompts, L longest prompt, G members, T longest completion, H heads
(fewer for keys and values where they share), D width of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

if TYPE_CHECKING:
    from atlas.models.passes.prefix_attention import PrefixLayout


def flex_prefix_attention(
    query_NHD: Tensor,
    key_NHD: Tensor,
    value_NHD: Tensor,
    layout: PrefixLayout,
    scale: float | None,
    window: int | None,
) -> Tensor:
    """Return what each token gathers, [N, H, D]; see `prefix_attention`."""
    q, k, v = (row.transpose(0, 1).unsqueeze(0) for row in (query_NHD, key_NHD, value_NHD))
    attend = _compiled(flex_attention) if query_NHD.is_cuda else flex_attention
    out_1HND: Any = attend(
        q, k, v, block_mask=_block_mask(layout, window), scale=scale, enable_gqa=True
    )
    return out_1HND[0].transpose(0, 1)


def _block_mask(layout: PrefixLayout, window: int | None) -> BlockMask:
    """Return which token sees which, as FlexAttention takes it; layers share it."""
    key = ("block mask", window)
    if key not in layout.biases:
        sequence_N, prompt_N, position_N = _places(layout)

        def sees(_batch: Tensor, _head: Tensor, query: Tensor, at: Tensor) -> Tensor:
            # A prompt's sequence number is that of the prompt, no completion's is.
            same = sequence_N[at] == sequence_N[query]
            distance = position_N[query] - position_N[at]
            seen = (same | (sequence_N[at] == prompt_N[query])) & (distance >= 0)
            return seen if window is None else seen & (distance < window)

        num, device = len(sequence_N), sequence_N.device
        # Written out whole, the mask of a long row would be the largest tensor of the pass.
        build = _compiled(create_block_mask) if device.type == "cuda" else create_block_mask
        layout.biases[key] = build(sees, None, None, num, num, device=device)
    return layout.biases[key]


def _places(layout: PrefixLayout) -> tuple[Tensor, Tensor, Tensor]:
    """Return for each token of the row its sequence, its prompt, and its position there, [N] each.

    Sequences are the prompts, numbered from 0, then the completions.
    """
    prompt_PL, own_PGT = layout.prompt_places_PL, layout.own_places_PGT
    num_prompts, members, longest = own_PGT.shape
    device = prompt_PL.device
    prompts_P = torch.arange(num_prompts, device=device)
    steps_T = torch.arange(longest, device=device)
    own_PG = torch.arange(num_prompts * members, device=device).view(num_prompts, members)
    positions_PT = layout.prompt_lengths_P[:, None] + steps_T

    def in_row(of_prompts: Tensor, of_own: Tensor) -> Tensor:
        both = (of_prompts.expand_as(prompt_PL), of_own.expand_as(own_PGT))
        return torch.cat([part.flatten() for part in both])[layout.blocks_N]

    return (
        in_row(prompts_P[:, None], own_PG[..., None] + num_prompts),
        in_row(prompts_P[:, None], prompts_P[:, None, None]),
        in_row(torch.arange(prompt_PL.shape[1], device=device), positions_PT[:, None]),
    )


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function)
