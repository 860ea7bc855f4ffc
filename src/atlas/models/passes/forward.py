"""Log-probabilities of the tokens that are learned from, under a model: one way in for all of them.

Input: a model and rows of `Tokens`, of SFT, GRPO or ranked responses. Output: log-probabilities per
token. There are two layouts, with equal results and exact gradients:

    siblings that share a prefix   all as one row without padding, each prompt once, where the model
                                   allows it (shared_prefix.py): it costs 1/G of what it would
    any other rows                 padded on the right; a row may hold several (padded.py)

Shapes: B rows, T tokens after a row's prefix, M learned tokens of all rows, D hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from atlas.models.passes.head import logit_change
from atlas.models.passes.padded import padded_hidden, trained_mask
from atlas.models.passes.shared_prefix import pack, packed_hidden, shares_prefixes
from atlas.objectives.logprobs import selected_logprobs
from atlas.types import Tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenLogprobs:
    """What a model says about tokens after the prefix of each row."""

    logprobs_BT: Tensor
    """[B, T], 0 in masked places."""
    mask_BT: Tensor
    """[B, T] bool, True where a token is learned."""
    entropy_BT: Tensor | None
    """[B, T] without gradient, 0 in masked places; None if not asked for."""


def logprobs(
    model: PreTrainedModel,
    rows: Sequence[Tokens],
    *,
    temperature: float = 1.0,
    with_entropy: bool = False,
    device: torch.device | None = None,
    share: bool = True,
) -> TokenLogprobs:
    """Return the log-probability of every learned token, with gradients where they are on.

    Args:
        rows: Siblings stand side by side.
        temperature: Logits are divided by it, as when the tokens were sampled.
        device: Where the pass is computed; None: where the model's weights are.
        share: False computes every row with a prompt of its own, whatever the model allows.

    Raises:
        AtlasError: The model's logits are not what its head makes of its hidden states.
    """
    device = device or model.device
    if share and all(row.prefix for row in rows) and shares_prefixes(model):
        hidden_MD = packed_hidden(model, pack(rows, device))
    else:
        hidden_MD = padded_hidden(model, rows, device)
    head: Any = model.get_output_embeddings()
    targets = [id for row in rows for start, end in row.trained for id in row.ids[start:end]]
    selected = selected_logprobs(
        hidden_MD,
        head.weight,
        torch.tensor(targets, dtype=torch.int64, device=device),
        bias_V=head.bias,
        temperature=temperature,
        with_entropy=with_entropy,
        change=logit_change(model),
    )
    mask_BT = trained_mask(rows, device)
    zeros_BT = selected.logprobs_N.new_zeros(mask_BT.shape)
    entropy_BT = None
    if selected.entropy_N is not None:
        entropy_BT = zeros_BT.masked_scatter(mask_BT, selected.entropy_N)
    return TokenLogprobs(
        logprobs_BT=zeros_BT.masked_scatter(mask_BT, selected.logprobs_N),
        mask_BT=mask_BT,
        entropy_BT=entropy_BT,
    )


def prepare_forward(model: PreTrainedModel, found: Any = None) -> Any:
    """Make the checks that are made when a model is met first, while it is still whole.

    Args:
        found: What they found of the same model in another process, which then holds here.

    Returns:
        What they found.
    """
    shares, change = found or (None, None)
    return shares_prefixes(model, shares), logit_change(model, change)
