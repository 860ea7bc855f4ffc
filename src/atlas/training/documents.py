"""Rows of several examples through a model: each example must come out as if it were alone.

Input: a model. Output: nothing, or a refusal. `transformers` masks attention between the examples
of a row by itself where positions begin again, with every attention implementation; a model that
keeps a state from token to token, or builds its own mask, doesn't. So a model that is to be trained
on such rows first shows it on a few tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from atlas.data.chat import Example
from atlas.data.packing import join, positions
from atlas.errors import AtlasError

_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}
_TOLERANCE_BELOW = 5e-2


def hidden_states(model: PreTrainedModel, ids_BT: Tensor, positions_BT: Tensor | None) -> Tensor:
    """Return the decoder's last hidden states, [B, T, D].

    Args:
        model: Any causal language model.
        ids_BT: Padded on the right.
        positions_BT: Of each token in its own example; None where no row holds several.
    """
    decoder: Any = model.get_decoder()
    placed = {} if positions_BT is None else {"position_ids": positions_BT}
    return decoder(input_ids=ids_BT, use_cache=False, **placed).last_hidden_state


@torch.no_grad()
def check_keeps_apart(model: PreTrainedModel) -> None:
    """Refuse a model in which an example of a row sees the one before it.

    Raises:
        AtlasError: It does; packing has to be switched off.
    """
    embeddings: Any = model.get_input_embeddings()
    vocab = int(embeddings.weight.shape[0])
    first, second = (
        Example(ids=tuple((13 * i + shift) % vocab for i in range(6)), prompt_length=1)
        for shift in (5, 7)
    )
    row = join([first, second])
    ids_1T = torch.tensor([row.ids], device=model.device)
    together = hidden_states(model, ids_1T, positions([row], model.device))[:, len(first.ids) :]
    alone = hidden_states(model, ids_1T[:, len(first.ids) :], None)
    difference = float((together - alone).float().norm() / alone.float().norm())
    if not difference < _TOLERANCE.get(alone.dtype, _TOLERANCE_BELOW):
        raise AtlasError(
            f"packing=true can't be used with {type(model).__name__}: an example would see the one "
            f"before it in its row (hidden states differ by {difference:.1g} of their size); set "
            "packing=false"
        )
