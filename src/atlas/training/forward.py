"""Log-probabilities of completions under a model, each group's prompt computed once.

Input: groups of completions that share their prompt. Output: log-probabilities per token.

The prompts go through the model once, with gradients; their key/value cache is repeated for the
members of each group, and only the completions run on it. Gradients are exact, and the prompt
costs 1/G of what it would::

    prompts      [P, L]        . . p p p p          left padded
    completions  [P * G, T]              c c c e _  right padded, on the repeated cache

Shapes: P prompts, G members, B = P * G rows, L prompt, T completion, D hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from atlas.errors import AtlasError
from atlas.objectives.logprobs import SelectedLogprobs, selected_logprobs
from atlas.rollouts.generic_decoder import left_pad

# What models of Gemma 2, Cohere, Granite, Falcon H1 and others do to their logits, with the value
# that changes nothing. A projection in chunks that left it out would be silently wrong.
_LOGIT_CHANGES = {
    "final_logit_softcapping": None,
    "logit_scale": 1,
    "logits_scaling": 1,
    "lm_head_multiplier": 1,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupBatch:
    """Completions in groups of equal size, as tensors."""

    prompt_ids_PL: Tensor
    prompt_mask_PL: Tensor
    """1 where real; the padding is on the left."""
    completion_ids_BT: Tensor
    mask_BT: Tensor
    """bool; the padding is on the right."""

    @property
    def group_size(self) -> int:
        """G."""
        return self.completion_ids_BT.shape[0] // self.prompt_ids_PL.shape[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenLogprobs:
    """What a model says about the completions' tokens."""

    logprobs_BT: Tensor
    """[B, T], 0 in masked places."""
    entropy_BT: Tensor | None
    """[B, T] without gradient, 0 in masked places; None if not asked for."""


def group_batch(
    prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]], pad_id: int
) -> GroupBatch:
    """Make a batch of P prompts and P * G completions, in the order of their prompts.

    Raises:
        ValueError: The completions are not G for each prompt, or one is empty.
    """
    if len(completions) % len(prompts):
        raise ValueError(f"{len(completions)} completions for {len(prompts)} prompts")
    if not all(len(completion) for completion in completions):
        raise ValueError("a completion is empty")
    longest = max(map(len, completions))
    prompt_ids_PL, prompt_mask_PL = left_pad(prompts, pad_id, torch.device("cpu"))
    right = [list(c) + [pad_id] * (longest - len(c)) for c in completions]
    right_mask = [[True] * len(c) + [False] * (longest - len(c)) for c in completions]
    return GroupBatch(
        prompt_ids_PL=prompt_ids_PL,
        prompt_mask_PL=prompt_mask_PL,
        completion_ids_BT=torch.tensor(right),
        mask_BT=torch.tensor(right_mask),
    )


def completion_logprobs(
    model: PreTrainedModel,
    batch: GroupBatch,
    *,
    temperature: float = 1.0,
    with_entropy: bool = False,
) -> TokenLogprobs:
    """Return the log-probability of every completion token, with gradients where they are on.

    Args:
        model: Any causal language model that takes a `DynamicCache`.
        batch: P prompts with G completions each.
        temperature: Logits are divided by it, as when the tokens were sampled.
        with_entropy: Return the entropies too.

    Raises:
        AtlasError: The model's logits are more than a projection of its hidden states.
    """
    if model.training and model.is_activation_checkpointing:
        # transformers then drops the cache, and the completions would run without their prompts.
        return plain_completion_logprobs(
            model, batch, temperature=temperature, with_entropy=with_entropy
        )
    group_size = batch.group_size
    cache = DynamicCache(config=model.config)
    last_PD = _hidden(model, batch.prompt_ids_PL, batch.prompt_mask_PL, cache)[:, -1]
    cache.batch_repeat_interleave(group_size)
    mask_BL = batch.prompt_mask_PL.repeat_interleave(group_size, dim=0)
    # The last token of a completion predicts nothing that is needed: it isn't run.
    inputs_BT = batch.completion_ids_BT[:, :-1]
    hidden_BTD = last_PD.repeat_interleave(group_size, dim=0).unsqueeze(1)
    if inputs_BT.shape[1]:
        mask_BK = torch.cat([mask_BL, batch.mask_BT[:, :-1].to(mask_BL.dtype)], dim=1)
        rest_BTD = _hidden(model, inputs_BT, mask_BK, cache)
        hidden_BTD = torch.cat([hidden_BTD, rest_BTD], dim=1)
    return _project(model, hidden_BTD, batch, temperature, with_entropy)


def plain_completion_logprobs(
    model: PreTrainedModel,
    batch: GroupBatch,
    *,
    temperature: float = 1.0,
    with_entropy: bool = False,
) -> TokenLogprobs:
    """Return the same as `completion_logprobs`, every row with a prompt of its own."""
    group_size = batch.group_size
    ids_BK = torch.cat(
        [batch.prompt_ids_PL.repeat_interleave(group_size, dim=0), batch.completion_ids_BT], dim=1
    )
    prompt_mask_BL = batch.prompt_mask_PL.repeat_interleave(group_size, dim=0)
    mask_BK = torch.cat([prompt_mask_BL, batch.mask_BT.to(prompt_mask_BL.dtype)], dim=1)
    hidden_BKD = _hidden(model, ids_BK, mask_BK, None)
    hidden_BTD = hidden_BKD[:, batch.prompt_ids_PL.shape[1] - 1 : -1]
    return _project(model, hidden_BTD, batch, temperature, with_entropy)


def _hidden(
    model: PreTrainedModel, ids_BL: Tensor, mask_BK: Tensor, cache: DynamicCache | None
) -> Tensor:
    """Return the last hidden states of the new tokens, [B, L, D]."""
    positions_BL = (mask_BK.cumsum(dim=-1) - 1).clamp(min=0)[:, -ids_BL.shape[1] :]
    backbone: Any = model.get_decoder()
    output = backbone(
        input_ids=ids_BL,
        attention_mask=mask_BK,
        position_ids=positions_BL,
        past_key_values=cache,
        use_cache=cache is not None,
    )
    return output.last_hidden_state


def _project(
    model: PreTrainedModel,
    hidden_BTD: Tensor,
    batch: GroupBatch,
    temperature: float,
    with_entropy: bool,
) -> TokenLogprobs:
    selected = project(
        model,
        hidden_BTD[batch.mask_BT],
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
        AtlasError: The model's logits are more than a projection of its hidden states.
    """
    require_plain_logits(model)
    head: Any = model.get_output_embeddings()
    return selected_logprobs(
        hidden_ND,
        head.weight,
        targets_N,
        bias_V=head.bias,
        temperature=temperature,
        with_entropy=with_entropy,
    )


def require_plain_logits(model: PreTrainedModel) -> None:
    """Raise AtlasError where logits are more than a projection of the last hidden states."""
    for name, harmless in _LOGIT_CHANGES.items():
        value = getattr(model.config, name, harmless)
        if value is not None and value != harmless:
            raise AtlasError(
                f"a model of type '{model.config.model_type}' changes its logits ({name}: "
                f"{value}), which training can't reproduce yet; choose another model"
            )
