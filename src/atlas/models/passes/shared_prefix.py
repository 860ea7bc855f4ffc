"""Rows that share prefixes through a model as one row without padding, each prefix once.

Input: a model and rows of `Tokens`. Output: the hidden state before every learned token. Only real
tokens are computed, and gradients flow back through the prompts as if each had been repeated::

    ids        a a a  b b   a0 a0  a1  b0 b0 b0     prompts a, b; then all but the last token of
    positions  0 1 2  0 1   3  4   3   2  3  4      each completion: it predicts nothing here

The model's layers run on the row as they are; only their attention is replaced, through the seam
that `transformers` has for it (prefix_attention.py is what runs instead). The first time that a
model is met it proves on a few tokens that this gives what its own forward gives. One that doesn't
is computed plainly, and one line of the log says so.

Shapes: N tokens of the row, M learned tokens of all rows, D hidden.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, groupby
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedConfig, PreTrainedModel

from atlas.models.passes.padded import padded_hidden
from atlas.models.passes.prefix_attention import PrefixLayout, prefix_attention, prefix_layout
from atlas.models.passes.proof import disagreement, few_rows, proving
from atlas.models.passes.recomputing import recomputing
from atlas.types import Tokens

logger = logging.getLogger(__name__)

_NAME = "atlas_shared_prefix"
_KNOWN_LAYERS = {"full_attention", "sliding_attention"}
# What some models ask of their attention besides, and this one doesn't do.
_UNKNOWN_REQUESTS = ("softcap", "s_aux", "position_bias", "head_mask", "dropout")

_verdicts: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


class CannotShare(Exception):
    """The model asks for something that attention on a shared prompt doesn't do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PackedRows:
    """Rows as one."""

    ids_1N: Tensor
    positions_1N: Tensor
    before_M: Tensor
    """Place of the token before each learned token, in the order of the rows."""
    layout: PrefixLayout


def pack(rows: Sequence[Tokens], device: torch.device) -> PackedRows:
    """Lay rows out as one; those that share a prefix stand side by side."""
    groups = siblings(rows)
    prompts = [group[0].ids[: group[0].prefix] for group in groups]
    prompt_of = [p for p, group in enumerate(groups) for _ in group]
    own = [row.ids[row.prefix : -1] for row in rows]
    ends = list(accumulate(map(len, prompts)))
    start, before = ends[-1], list[int]()
    for row, p, ids in zip(rows, prompt_of, own, strict=True):
        places = [ends[p] - 1, *range(start, start + len(ids))]
        before += [i for a, b in row.trained for i in places[a - row.prefix : b - row.prefix]]
        start += len(ids)
    positions = [range(len(ids)) for ids in prompts]
    positions += [
        range(row.prefix, row.prefix + len(ids)) for row, ids in zip(rows, own, strict=True)
    ]

    def tensor(values: Iterable[int]) -> Tensor:
        return torch.tensor(list(values), dtype=torch.int64, device=device)

    return PackedRows(
        ids_1N=tensor(chain(*prompts, *own)).unsqueeze(0),
        positions_1N=tensor(chain(*positions)).unsqueeze(0),
        before_M=tensor(before),
        layout=prefix_layout(tensor(map(len, prompts)), tensor(map(len, own)), tensor(prompt_of)),
    )


def siblings(rows: Iterable[Tokens]) -> list[list[Tokens]]:
    """Return neighbours that begin with the same prefix, together."""
    return [list(group) for _, group in groupby(rows, key=lambda row: row.ids[: row.prefix])]


def packed_hidden(model: PreTrainedModel, packed: PackedRows) -> Tensor:
    """Return the hidden state before every learned token, [M, D]."""
    decoder: Any = model.get_decoder()

    def attention() -> contextlib.AbstractContextManager[None]:
        return _attention(decoder.config)

    with attention(), recomputing(decoder, attention):
        output = decoder(
            input_ids=packed.ids_1N,
            position_ids=packed.positions_1N,
            use_cache=False,
            shared_prefix=packed.layout,
        )
    return output.last_hidden_state[0][packed.before_M]


def shares_prefixes(model: PreTrainedModel, known: bool | None = None) -> bool:
    """Tell whether a prefix is computed once for all its rows; a model is asked once.

    Args:
        known: It was asked elsewhere, and this is what came of it.
    """
    decoder: Any = model.get_decoder()
    if known is not None:
        _verdicts[decoder] = known
    if decoder not in _verdicts:
        reason = _why_not(model, decoder)
        if reason:
            logger.warning(
                "%s is trained with each prompt computed once per completion: %s",
                type(model).__name__,
                reason,
            )
        _verdicts[decoder] = reason is None
    return _verdicts[decoder]


def _why_not(model: PreTrainedModel, decoder: Any) -> str | None:
    if getattr(decoder, "_is_stateful", False):
        return "it keeps a state from token to token"
    unknown = set(getattr(decoder.config, "layer_types", None) or ()) - _KNOWN_LAYERS
    if unknown:
        return f"it has layers of type {', '.join(sorted(unknown))}"
    if not getattr(decoder, "_supports_attention_backend", False):
        return "its attention can't be replaced"
    rows = few_rows(model)
    packed = pack(rows, model.device)
    try:
        with proving(model), torch.no_grad():
            shared_MD = packed_hidden(model, packed)
            plain_MD = padded_hidden(model, rows, model.device)
            difference = disagreement(shared_MD, plain_MD)
    except Exception as error:  # whatever a foreign model raises, the plain forward is there
        return f"{type(error).__name__}: {error}"
    if packed.layout.windows != _windows(decoder.config):
        return "the windows of its attention are not those of its configuration"
    if difference is not None:
        return f"hidden states would differ by {difference:.1g} of their size"
    return None


def _windows(config: PreTrainedConfig) -> set[int | None]:
    """Return the windows that the configuration promises; None is attention to everything."""
    window = getattr(config, "sliding_window", None)
    layers = getattr(config, "layer_types", None)
    if layers:
        return {window if kind == "sliding_attention" else None for kind in layers}
    return {window if getattr(config, "use_sliding_window", True) else None}


def _attend(
    module: nn.Module,
    query_1HND: Tensor,
    key_1HND: Tensor,
    value_1HND: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    shared_prefix: PrefixLayout | None = None,
    **requests: Any,
) -> tuple[Tensor, None]:
    """Attend within the packed row; called by the model's layers."""
    refused = [name for name in _UNKNOWN_REQUESTS if requests.get(name)]
    if refused:
        raise CannotShare(f"its attention asks for {refused[0]}")
    if shared_prefix is None:
        raise CannotShare("its layers don't pass on what they are given")
    shared_prefix.windows.add(sliding_window)
    rows = [x[0].transpose(0, 1) for x in (query_1HND, key_1HND, value_1HND)]
    dtype = rows[2].dtype  # under autocast, rotations give float32
    query_NHD, key_NHD, value_NHD = (row.to(dtype) for row in rows)
    out_NHD = prefix_attention(
        query_NHD, key_NHD, value_NHD, shared_prefix, scale=scaling, window=sliding_window
    )
    return out_NHD.unsqueeze(0), None


AttentionInterface.register(_NAME, _attend)


def keep_attention_uncompiled() -> None:
    """Have compiled layers call the attention as it is: it runs kernels and keeps what they share.

    Not done at once, since it loads the compiler.
    """
    AttentionInterface.register(_NAME, torch.compiler.disable(_attend))


@contextlib.contextmanager
def _attention(config: PreTrainedConfig) -> Iterator[None]:
    before = config._attn_implementation
    config._attn_implementation = _NAME
    try:
        yield
    finally:
        config._attn_implementation = before
