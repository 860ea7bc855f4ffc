"""Rows through a model as they are, padded on the right; a row may hold several sequences.

Input: a model and rows of `Tokens`. Output: the hidden state before every token that is learned.
Causal attention never looks to the right, so the padding needs no mask. Drawn, a row of two::

    ids         5 6 7 8 9
    learned     - - # - #
    positions   0 1 2 0 1

The positions begin again with each sequence. That is how the model knows them apart: `transformers`
masks attention between them with every attention implementation, and rotary or learned positions
are those of the sequence alone. A model that keeps a state from token to token, or builds its own
mask, doesn't keep them apart, so one that is to be trained on such rows first shows that it does.

Shapes: B rows, N tokens of a row, T of them after its prefix, M learned tokens of all rows, D
hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from atlas.errors import AtlasError
from atlas.models.passes.proof import disagreement, few_ids, proving
from atlas.models.passes.recomputing import recomputing
from atlas.types import Tokens


def padded_hidden(model: PreTrainedModel, rows: Sequence[Tokens], device: torch.device) -> Tensor:
    """Return the hidden state before every learned token, [M, D]; a prompt for each row."""
    decoder: Any = model.get_decoder()
    positions_BN = positions(rows, device)
    placed = {} if positions_BN is None else {"position_ids": positions_BN}
    ids_BN = right_padded([row.ids for row in rows], device)
    with recomputing(decoder):
        hidden_BND = decoder(input_ids=ids_BN, use_cache=False, **placed).last_hidden_state
    length = ids_BN.shape[1]
    before_M = [
        place - 1 + number * length
        for number, row in enumerate(rows)
        for stretch in row.trained
        for place in range(*stretch)
    ]
    return hidden_BND.flatten(0, 1)[torch.tensor(before_M, dtype=torch.int64, device=device)]


def right_padded(
    rows: Sequence[Sequence[float]], device: torch.device, dtype: torch.dtype | None = None
) -> Tensor:
    """Return numbers as a tensor of a row each, 0 where a row has ended."""
    longest = max(map(len, rows))
    return torch.tensor(
        [[*row, *[0] * (longest - len(row))] for row in rows], dtype=dtype, device=device
    )


def trained_mask(rows: Sequence[Tokens], device: torch.device) -> Tensor:
    """Return which tokens after its prefix each row learns from, [B, T] bool."""
    mask_BT = torch.zeros(len(rows), max(row.num_own for row in rows), dtype=torch.bool)
    for mask_T, row in zip(mask_BT, rows, strict=True):
        for start, end in row.trained:
            mask_T[start - row.prefix : end - row.prefix] = True
    return mask_BT.to(device)


def advantages(rows: Sequence[Tokens], device: torch.device) -> Tensor:
    """Return what each token after its row's prefix counts by, [B, T] or [B, 1]."""
    if any(isinstance(row.advantage, tuple) for row in rows):
        return right_padded([row.advantages[row.prefix :] for row in rows], device)
    return torch.tensor([[row.advantage] for row in rows], device=device)


def positions(rows: Sequence[Tokens], device: torch.device) -> Tensor | None:
    """Return the place of each token in its own sequence, [B, N]; None where no row holds several.

    Padding goes on counting, as it does without: nothing looks at it.
    """
    if not any(row.starts for row in rows):
        return None
    longest = max(len(row.ids) for row in rows)
    bounds = [pairwise([0, *row.starts, longest]) for row in rows]
    places = [[i for start, end in row for i in range(end - start)] for row in bounds]
    return torch.tensor(places, device=device)


def join(rows: Sequence[Tokens]) -> Tokens:
    """Return sequences that follow one another as one row.

    Example:
        >>> row = join([Tokens(ids=(5, 6, 7), trained=((2, 3),)),
        ...             Tokens(ids=(8, 9), trained=((1, 2),))])
        >>> row.ids, row.starts, row.trained
        ((5, 6, 7, 8, 9), (3,), ((2, 3), (4, 5)))
    """
    places = [0, *accumulate(len(row.ids) for row in rows)][:-1]
    weighed = any(row.advantage is not None for row in rows)
    return Tokens(
        ids=tuple(id for row in rows for id in row.ids),
        trained=tuple(
            (place + start, place + end)
            for place, row in zip(places, rows, strict=True)
            for start, end in row.trained
        ),
        source=",".join(dict.fromkeys(row.source for row in rows)),
        starts=tuple(places[1:]),
        advantage=tuple(weight for row in rows for weight in row.advantages) if weighed else None,
    )


@torch.no_grad()
def check_keeps_apart(model: PreTrainedModel) -> None:
    """Refuse a model in which a sequence of a row sees the one before it.

    Raises:
        AtlasError: It does; packing has to be switched off.
    """
    ids = few_ids(model, 12)
    first, second = (Tokens(ids=tuple(some), trained=((1, 6),)) for some in (ids[:6], ids[6:]))
    with proving(model):
        together_MD = padded_hidden(model, [join([first, second])], model.device)
        alone_MD = padded_hidden(model, [second], model.device)
        difference = disagreement(together_MD[5:], alone_MD)
    if difference is not None:
        raise AtlasError(
            f"packing=true can't be used with {type(model).__name__}: an example would see the one "
            f"before it in its row (hidden states differ by {difference:.1g} of their size); set "
            "packing=false"
        )
