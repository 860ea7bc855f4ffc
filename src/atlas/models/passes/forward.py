"""Log-probabilities of completions under a model, each group's prompt computed once.

Input: groups of completions that share their prompt. Output: log-probabilities per token.

Where the model allows it, prompts and completions go through it as one row without padding, and
each prompt costs 1/G of what it would (shared_prefix.py). Otherwise every completion is computed
with a prompt of its own. Gradients are exact either way.

Shapes: P prompts, B rows, L prompt, T completion, M completion tokens of all rows, D hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from atlas.models.passes.group_batch import GroupBatch
from atlas.models.passes.head import logit_change
from atlas.models.passes.recomputing import recomputing
from atlas.models.passes.shared_prefix import can_share, pack, packed_hidden
from atlas.objectives.logprobs import SelectedLogprobs, selected_logprobs


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenLogprobs:
    """What a model says about the completions' tokens."""

    logprobs_BT: Tensor
    """[B, T], 0 in masked places."""
    entropy_BT: Tensor | None
    """[B, T] without gradient, 0 in masked places; None if not asked for."""


def completion_logprobs(
    model: PreTrainedModel,
    batch: GroupBatch,
    *,
    temperature: float = 1.0,
    with_entropy: bool = False,
) -> TokenLogprobs:
    """Return the log-probability of every completion token, with gradients where they are on.

    Args:
        model: Any causal language model.
        batch: Prompts with their completions, on the model's device.
        temperature: Logits are divided by it, as when the tokens were sampled.
        with_entropy: Return the entropies too.

    Raises:
        AtlasError: The model's logits are not what its head makes of its hidden states.
    """
    if shares_prompts(model):
        hidden_MD = packed_hidden(model, pack(batch))
    else:
        hidden_MD = plain_hidden(model, batch)
    return _project(model, hidden_MD, batch, temperature, with_entropy)


def plain_completion_logprobs(
    model: PreTrainedModel,
    batch: GroupBatch,
    *,
    temperature: float = 1.0,
    with_entropy: bool = False,
) -> TokenLogprobs:
    """Return the same as `completion_logprobs`, every row with a prompt of its own."""
    return _project(model, plain_hidden(model, batch), batch, temperature, with_entropy)


def shares_prompts(model: PreTrainedModel) -> bool:
    """Tell whether the prompt of a group is computed once for all its completions."""
    return can_share(model, plain_hidden)


def prepare_forward(model: PreTrainedModel) -> None:
    """Make the checks that are made when a model is met first, while it is still whole."""
    shares_prompts(model)
    logit_change(model)


def plain_hidden(model: PreTrainedModel, batch: GroupBatch) -> Tensor:
    """Return the hidden state before every completion token, [M, D]; a prompt for each row."""
    ids_BK = torch.cat([batch.prompt_ids_PL[batch.prompt_of_B], batch.completion_ids_BT], dim=1)
    prompt_mask_BL = batch.prompt_mask_PL[batch.prompt_of_B]
    mask_BK = torch.cat([prompt_mask_BL, batch.mask_BT.to(prompt_mask_BL.dtype)], dim=1)
    backbone: Any = model.get_decoder()
    with recomputing(backbone):
        output = backbone(
            input_ids=ids_BK,
            attention_mask=mask_BK,
            position_ids=(mask_BK.cumsum(dim=-1) - 1).clamp(min=0),
            use_cache=False,
        )
    hidden_BTD = output.last_hidden_state[:, batch.prompt_ids_PL.shape[1] - 1 : -1]
    return hidden_BTD[batch.mask_BT]


def _project(
    model: PreTrainedModel,
    hidden_MD: Tensor,
    batch: GroupBatch,
    temperature: float,
    with_entropy: bool,
) -> TokenLogprobs:
    selected = project(
        model,
        hidden_MD,
        batch.completion_ids_BT[batch.mask_BT],
        temperature=temperature,
        with_entropy=with_entropy,
    )
    zeros_BT = selected.logprobs_N.new_zeros(batch.mask_BT.shape)
    entropy_BT = None
    if selected.entropy_N is not None:
        entropy_BT = zeros_BT.masked_scatter(batch.mask_BT, selected.entropy_N)
    return TokenLogprobs(
        logprobs_BT=zeros_BT.masked_scatter(batch.mask_BT, selected.logprobs_N),
        entropy_BT=entropy_BT,
    )


def project(
    model: PreTrainedModel,
    hidden_ND: Tensor,
    targets_N: Tensor,
    *,
    temperature: float = 1.0,
    with_entropy: bool = False,
) -> SelectedLogprobs:
    """Return the log-probabilities of targets under the model's own head, in chunks.

    Raises:
        AtlasError: The model's logits are not what its head makes of its hidden states.
    """
    head: Any = model.get_output_embeddings()
    return selected_logprobs(
        hidden_ND,
        head.weight,
        targets_N,
        bias_V=head.bias,
        temperature=temperature,
        with_entropy=with_entropy,
        change=logit_change(model),
    )
