"""Groups of completions through a model as one row without padding, each prompt once.

Input: a model and a `GroupBatch`. Output: the hidden state before every completion token. Only real
tokens are computed, and gradients flow back through the prompts as if each had been repeated::

    ids        a a a  b b   a0 a0  a1  b0 b0 b0     prompts a, b; then all but the last token of
    positions  0 1 2  0 1   3  4   3   2  3  4      each completion: it predicts nothing here

The model's layers run on the row as they are; only their attention is replaced, through the seam
that `transformers` has for it (prefix_attention.py is what runs instead). The first time that a
model is met it proves on a few tokens that this gives what its own forward gives. One that doesn't
is computed plainly, and one line of the log says so.

Shapes: P prompts, B rows, L prompt, T completion, N tokens of the row, M completion tokens of all
rows, D hidden.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedConfig, PreTrainedModel

from atlas.models.passes.evaluating import evaluating
from atlas.models.passes.group_batch import GroupBatch, group_batch
from atlas.models.passes.prefix_attention import PrefixLayout, prefix_attention, prefix_layout
from atlas.models.passes.recomputing import recomputing

logger = logging.getLogger(__name__)

_NAME = "atlas_shared_prefix"
_KNOWN_LAYERS = {"full_attention", "sliding_attention"}
# What some models ask of their attention besides, and this one doesn't do.
_UNKNOWN_REQUESTS = ("softcap", "s_aux", "position_bias", "head_mask", "dropout")

_verdicts: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


class CannotShare(Exception):
    """The model asks for something that attention on a shared prompt doesn't do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Packed:
    """A batch as one row."""

    ids_1N: Tensor
    positions_1N: Tensor
    before_M: Tensor
    """Place of the token before each completion token, in the order of ``mask_BT``."""
    layout: PrefixLayout


def pack(batch: GroupBatch) -> Packed:
    """Lay a batch out as one row."""
    prompt_lengths_P = batch.prompt_mask_PL.sum(dim=1)
    own_lengths_B = batch.mask_BT.sum(dim=1) - 1
    is_input_BT = batch.mask_BT[:, 1:]
    num_inputs = is_input_BT.shape[1]
    steps_T = torch.arange(num_inputs, device=own_lengths_B.device)
    positions_PL = batch.prompt_mask_PL.cumsum(dim=1) - 1
    positions_BT = prompt_lengths_P[batch.prompt_of_B].unsqueeze(1) + steps_T
    is_prompt_PL = batch.prompt_mask_PL.bool()
    layout = prefix_layout(prompt_lengths_P, own_lengths_B, batch.prompt_of_B)
    last_P = prompt_lengths_P.cumsum(dim=0) - 1
    starts_B = own_lengths_B.cumsum(dim=0) - own_lengths_B + prompt_lengths_P.sum()
    before_BT = torch.cat(
        [last_P[batch.prompt_of_B].unsqueeze(1), starts_B.unsqueeze(1) + steps_T], dim=1
    )
    return Packed(
        ids_1N=torch.cat(
            [batch.prompt_ids_PL[is_prompt_PL], batch.completion_ids_BT[:, :-1][is_input_BT]]
        ).unsqueeze(0),
        positions_1N=torch.cat([positions_PL[is_prompt_PL], positions_BT[is_input_BT]]).unsqueeze(
            0
        ),
        before_M=before_BT[batch.mask_BT],
        layout=layout,
    )


def packed_hidden(model: PreTrainedModel, packed: Packed) -> Tensor:
    """Return the hidden state before every completion token, [M, D]."""
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


def can_share(
    model: PreTrainedModel, plain: Callable[[PreTrainedModel, GroupBatch], Tensor]
) -> bool:
    """Tell whether the model gives the same on a shared prompt; a model is asked once.

    Args:
        model: Any causal language model.
        plain: Returns the hidden state before every completion token, [M, D], every row with a
            prompt of its own.
    """
    decoder: Any = model.get_decoder()
    if decoder not in _verdicts:
        reason = _why_not(model, decoder, plain)
        if reason:
            logger.warning(
                "%s is trained with each prompt computed once per completion: %s",
                type(model).__name__,
                reason,
            )
        _verdicts[decoder] = reason is None
    return _verdicts[decoder]


def _why_not(
    model: PreTrainedModel,
    decoder: Any,
    plain: Callable[[PreTrainedModel, GroupBatch], Tensor],
) -> str | None:
    if getattr(decoder, "_is_stateful", False):
        return "it keeps a state from token to token"
    unknown = set(getattr(decoder.config, "layer_types", None) or ()) - _KNOWN_LAYERS
    if unknown:
        return f"it has layers of type {', '.join(sorted(unknown))}"
    if not getattr(decoder, "_supports_attention_backend", False):
        return "its attention can't be replaced"
    try:
        with evaluating(model), torch.no_grad():
            packed = pack(trial(model))
            shared_MD, plain_MD = packed_hidden(model, packed), plain(model, trial(model))
    except Exception as error:  # whatever a foreign model raises, the plain forward is there
        return f"{type(error).__name__}: {error}"
    if packed.layout.windows != _windows(decoder.config):
        return "the windows of its attention are not those of its configuration"
    difference = float((shared_MD - plain_MD).float().norm() / plain_MD.float().norm())
    tolerance = 1e-3 if plain_MD.dtype in (torch.float32, torch.float64) else 5e-2
    if not difference < tolerance:
        return f"hidden states would differ by {difference:.1g} of their size"
    return None


def trial(model: PreTrainedModel) -> GroupBatch:
    """Return a few tokens of uneven lengths in two groups."""
    embeddings: Any = model.get_input_embeddings()
    ids = [(13 * i + 5) % int(embeddings.weight.shape[0]) for i in range(13)]
    prompts, completions = [ids[:3], ids[3:5]], [ids[5:8], ids[8:9], ids[9:12], ids[12:]]
    return group_batch(prompts, completions, 0, device=model.device)


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
