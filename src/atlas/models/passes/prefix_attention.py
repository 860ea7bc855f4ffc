"""Attention of prompts and their completions in one row, each prompt's keys and values held once.

Input: queries, keys and values of a packed row. Output: what each token gathers::

    row     p p p p  p p  c c c  c  c c  c c c c        all prompts, then all completions

    a token of a prompt      attends to its prompt, up to itself
    a token of a completion  attends to its whole prompt, and to its completion up to itself

The second is two attentions, joined by the logarithms of their sums of exponentials (``lse``):

    out = out_own + (out_prompt - out_own) sigmoid(lse_prompt - lse_own)
    lse = log(exp lse_own + exp lse_prompt)

and backward, each of the two is given ``out`` and ``lse`` of the whole (as in Liu et al. 2023, Ring
Attention, arXiv 2310.01889). So no key of a prompt is ever repeated for the group. The kernel that
this needs is the processor's; on a GPU `flex_prefix_attention.py` has one for the whole row.

Shapes: N tokens of the row, P prompts, G members, L longest prompt, T longest completion,
H heads (fewer for keys and values where they share), D width of a head.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from atlas.models.passes.flex_prefix_attention import flex_prefix_attention

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default


@dataclass(frozen=True, kw_only=True, slots=True)
class PrefixLayout:
    """Where the tokens of a packed row stand in blocks, which are padded on the right.

    Example: prompts of 2 and 1 tokens; the first has completions of 1 and 2, the second one of 1:
        >>> layout = prefix_layout(torch.tensor([2, 1]), torch.tensor([1, 2, 1]),
        ...                        torch.tensor([0, 0, 1]))
        >>> layout.prompt_places_PL.tolist(), layout.own_places_PGT.tolist()
        ([[0, 1], [2, -1]], [[[3, -1], [4, 5]], [[6, -1], [-1, -1]]])
    """

    prompt_lengths_P: Tensor
    prompt_places_PL: Tensor
    """Place in the row, -1 for padding."""
    own_places_PGT: Tensor
    """The same for completions; members that a prompt lacks are padding altogether."""
    blocks_N: Tensor
    """For each place of the row, its place in both blocks laid end to end."""
    prompts_are_padded: bool
    own_are_padded: bool
    windows: set[int | None] = field(default_factory=set)
    """Windows that a model's layers asked for, for those who check."""
    biases: dict[Any, Any] = field(default_factory=dict)
    """Masks that layers share."""


def prefix_layout(
    prompt_lengths_P: Tensor, own_lengths_B: Tensor, prompt_of_B: Tensor
) -> PrefixLayout:
    """Lay out prompts and the completions that belong to them; both in the order of the row."""
    num_prompts, num_rows = len(prompt_lengths_P), len(own_lengths_B)
    device = prompt_lengths_P.device
    # Member number within its prompt: rows of a prompt stand side by side.
    first_P = torch.searchsorted(prompt_of_B, torch.arange(num_prompts, device=device))
    member_B = torch.arange(num_rows, device=device) - first_P[prompt_of_B]
    members = int(member_B.max()) + 1
    prompt_places_PL = _places(prompt_lengths_P, 0)
    own_BT = _places(own_lengths_B, int(prompt_lengths_P.sum()))
    own_places_PGT = own_BT.new_full((num_prompts, members, own_BT.shape[1]), -1)
    own_places_PGT[prompt_of_B, member_B] = own_BT
    flat = torch.cat([prompt_places_PL.flatten(), own_places_PGT.flatten()])
    blocks_N = flat.new_empty(int((flat >= 0).sum()))
    blocks_N[flat[flat >= 0]] = (flat >= 0).nonzero().squeeze(-1)
    return PrefixLayout(
        prompt_lengths_P=prompt_lengths_P,
        prompt_places_PL=prompt_places_PL,
        own_places_PGT=own_places_PGT,
        blocks_N=blocks_N,
        prompts_are_padded=bool((prompt_places_PL < 0).any()),
        own_are_padded=bool((own_places_PGT < 0).any()),
    )


def prefix_attention(
    query_NHD: Tensor,
    key_NHD: Tensor,
    value_NHD: Tensor,
    layout: PrefixLayout,
    *,
    scale: float | None = None,
    window: int | None = None,
) -> Tensor:
    """Return what each token gathers, [N, H, D].

    Args:
        query_NHD: [N, H, D], already rotated.
        key_NHD: [N, H', D], where H is a multiple of H'.
        value_NHD: [N, H', D].
        scale: Of the scores; None for one over the root of D.
        window: Tokens that a token sees, itself included; None sees all.
    """
    on_cpu = query_NHD.device.type == "cpu"
    attention: Any = _SharedKeys.apply if on_cpu else flex_prefix_attention
    return attention(query_NHD, key_NHD, value_NHD, layout, scale, window)


class _SharedKeys(torch.autograd.Function):
    """The kernel of the processor, on each prompt's keys once."""

    @staticmethod
    def forward(
        ctx: Any,
        query_NHD: Tensor,
        key_NHD: Tensor,
        value_NHD: Tensor,
        layout: PrefixLayout,
        scale: float | None,
        window: int | None,
    ) -> Tensor:
        blocks = _blocks(layout, query_NHD, key_NHD, value_NHD)
        prompt_bias, own_bias, cross_bias = _biases(layout, window, query_NHD.dtype)
        (q, k, v), (own_q, own_k, own_v) = blocks
        out, lse = _flash(q, k, v, prompt_bias, True, scale)
        outs, lses = [_tokens(out)], [_tokens(lse)]
        if own_q.shape[-2]:
            own_out, own_lse = map(_tokens, _flash(own_q, own_k, own_v, own_bias, True, scale))
            all_q = _all_members(own_q, layout)
            far_out, far_lse = map(_tokens, _flash(all_q, k, v, cross_bias, False, scale))
            if window is not None:
                # The kernel says 0 where nothing is seen: here, once the prompt is out of sight.
                steps_T = torch.arange(own_q.shape[-2], device=lse.device)
                steps_M1 = steps_T.repeat(far_lse.shape[0] // len(steps_T)).unsqueeze(-1)
                far_lse = far_lse.masked_fill(steps_M1 + 1 >= window, -torch.inf)
            share = torch.sigmoid(far_lse - own_lse).unsqueeze(-1).to(own_out.dtype)
            outs.append(torch.lerp(own_out, far_out, share))
            lses.append(torch.logaddexp(own_lse, far_lse))
        out_NHD = _in_order(outs, layout)
        lse_NH = _in_order(lses, layout)
        ctx.save_for_backward(query_NHD, key_NHD, value_NHD, out_NHD, lse_NH)
        ctx.layout, ctx.scale, ctx.window = layout, scale, window
        return out_NHD

    @staticmethod
    @once_differentiable  # its annotation makes ctx positional, hence the ignore
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Any
    ) -> tuple[Tensor | None, ...]:
        query_NHD, key_NHD, value_NHD, out_NHD, lse_NH = ctx.saved_tensors
        layout, scale = ctx.layout, ctx.scale
        biases = _biases(layout, ctx.window, query_NHD.dtype)
        (q, k, v), (own_q, own_k, own_v) = _blocks(layout, query_NHD, key_NHD, value_NHD)
        # In padded places no gradient comes in, and no probability is left: exp(score - inf).
        grads, own_grads = _blocks(layout, grad_outputs[0], fill=0.0)
        outs, own_outs = _blocks(layout, out_NHD)
        lses, own_lses = _blocks(layout, lse_NH.unsqueeze(-1), fill=torch.inf)
        out, lse = outs[0], lses[0].squeeze(-1)
        dq, dk, dv = _flash_backward(grads[0], q, k, v, out, lse, biases[0], True, scale)
        parts = ([_tokens(dq)], [_tokens(dk)], [_tokens(dv)])
        if own_q.shape[-2]:
            grad, out, lse = own_grads[0], own_outs[0], own_lses[0].squeeze(-1)
            own = _flash_backward(grad, own_q, own_k, own_v, out, lse, biases[1], True, scale)
            all_q, all_grad, all_out = (_all_members(x, layout) for x in (own_q, grad, out))
            all_lse = _all_members(own_lses[0], layout).squeeze(-1)
            far = _flash_backward(all_grad, all_q, k, v, all_out, all_lse, biases[2], False, scale)
            parts[0].append(_tokens(own[0]) + _tokens(far[0]))
            for part, near, shared in zip(parts[1:], own[1:], far[1:], strict=True):
                part[0] = part[0] + _tokens(shared)
                part.append(_tokens(near))
        return (*(_in_order(part, layout) for part in parts), None, None, None)


def _flash(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, causal: bool, scale: float | None
) -> tuple[Tensor, Tensor]:
    is_causal = causal and bias is None
    out, lse = _forward(q, k, v, 0.0, is_causal, attn_mask=bias, scale=scale)
    return out, lse


def _flash_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    bias: Tensor | None,
    causal: bool,
    scale: float | None,
) -> tuple[Tensor, Tensor, Tensor]:
    is_causal = causal and bias is None
    return _backward(grad, q, k, v, out, lse, 0.0, is_causal, attn_mask=bias, scale=scale)


def _blocks(
    layout: PrefixLayout, *rows: Tensor, fill: float | None = None
) -> tuple[list[Tensor], list[Tensor]]:
    """Return each [N, H, D] as blocks of prompts [P, H, L, D] and of completions [P G, H, T, D].

    Padding holds ``fill``, or anything finite.
    """
    # The kernels read along the width of a head, and a gradient may come in expanded.
    rows = tuple(row if row.stride(-1) == 1 else row.contiguous() for row in rows)
    prompt_places, own_places = layout.prompt_places_PL, layout.own_places_PGT.flatten(0, 1)
    prompts = [
        _padded(row, prompt_places, fill)
        if layout.prompts_are_padded
        else _cut(row[: prompt_places.numel()], prompt_places)
        for row in rows
    ]
    own = [
        _padded(row, own_places, fill)
        if layout.own_are_padded
        else _cut(row[len(row) - own_places.numel() :], own_places)
        for row in rows
    ]
    return prompts, own


def _cut(row_NHD: Tensor, places_BT: Tensor) -> Tensor:
    """Return a block that is a part of the row as it lies there: nothing is copied."""
    return row_NHD.view(*places_BT.shape, *row_NHD.shape[1:]).transpose(1, 2)


def _padded(row_NHD: Tensor, places_BT: Tensor, fill: float | None) -> Tensor:
    block = row_NHD[places_BT.clamp(min=0).flatten()].view(*places_BT.shape, *row_NHD.shape[1:])
    if fill is not None:
        block = block.masked_fill((places_BT < 0)[..., None, None], fill)
    return block.transpose(1, 2)


def _in_order(parts: list[Tensor], layout: PrefixLayout) -> Tensor:
    """Lay blocks end to end and leave their padding out: the row again."""
    blocks = torch.cat(parts)
    if layout.prompts_are_padded or layout.own_are_padded:
        return blocks[layout.blocks_N]
    return blocks


def _all_members(block: Tensor, layout: PrefixLayout) -> Tensor:
    """Lay the completions of a prompt end to end: [P G, H, T, D] becomes [P, H, G T, D]."""
    num_prompts = layout.own_places_PGT.shape[0]
    block_BTHD = block.transpose(1, 2)
    return block_BTHD.reshape(num_prompts, -1, *block_BTHD.shape[2:]).transpose(1, 2)


def _tokens(block: Tensor) -> Tensor:
    """Lay a block [B, H, T, ...] end to end, [B T, H, ...]."""
    return block.transpose(1, 2).flatten(0, 1)


def _biases(
    layout: PrefixLayout, window: int | None, dtype: torch.dtype
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return what is added to the scores within prompts, within completions and between them.

    None within a block means causal; None between them, that everything is seen. Since blocks are
    padded on the right, causality alone keeps padded keys out of sight.
    """
    length, own_length = layout.prompt_places_PL.shape[1], layout.own_places_PGT.shape[2]
    if window is not None and window >= length + own_length:
        window = None
    key = (window, dtype)
    if key not in layout.biases:
        device = layout.prompt_lengths_P.device
        prompt = own = between = None
        if window is not None:
            prompt = _bias(_causal(length, window, device), dtype)
            own = _bias(_causal(own_length, window, device), dtype)
            between = _bias(_between(layout, window), dtype)
        elif layout.prompts_are_padded:
            between = _bias((layout.prompt_places_PL >= 0)[:, None, None], dtype)
        for name, bias in (("prompt", prompt), ("own", own), ("between", between)):
            layout.biases[name, *key] = bias
        layout.biases[key] = None
    return tuple(layout.biases[name, *key] for name in ("prompt", "own", "between"))  # pyright: ignore[reportReturnType]


def _causal(length: int, window: int | None, device: torch.device) -> Tensor:
    """Return which key [L] each query [L] sees within a block, [1, 1, L, L]."""
    steps_L = torch.arange(length, device=device)
    ahead_LL = steps_L[:, None] - steps_L[None]
    seen_LL = ahead_LL >= 0 if window is None else (ahead_LL >= 0) & (ahead_LL < window)
    return seen_LL[None, None]


def _between(layout: PrefixLayout, window: int) -> Tensor:
    """Return which key of its prompt each token of a completion sees, [P, 1, G T, L]."""
    _, members, own_length = layout.own_places_PGT.shape
    device = layout.prompt_lengths_P.device
    steps_M = torch.arange(own_length, device=device).repeat(members)
    keys_L = torch.arange(layout.prompt_places_PL.shape[1], device=device)
    at_PM1 = (layout.prompt_lengths_P[:, None] + steps_M)[..., None]
    real_P1L = (layout.prompt_places_PL >= 0)[:, None]
    return ((at_PM1 - keys_L < window) & real_P1L)[:, None]


def _bias(seen: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, -torch.inf)


def _places(lengths_B: Tensor, first: int) -> Tensor:
    """Return the place of each token [B, T] of sequences that stand end to end, -1 for padding."""
    steps_T = torch.arange(int(lengths_B.max()), device=lengths_B.device)
    starts_B1 = (lengths_B.cumsum(0) - lengths_B + first).unsqueeze(1)
    return torch.where(steps_T < lengths_B.unsqueeze(1), starts_B1 + steps_T, -1)
