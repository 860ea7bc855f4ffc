"""Log-probabilities of given tokens, without the logits ever being whole in memory.

    z = change(W h + b) / temperature    policy[n] = z[target] - logsumexp(z)

For 64 rows of 512 tokens and a vocabulary of 152,000, float32 logits are 20 GB, the largest tensor
of a step by far. ``selected_logprobs`` goes from hidden states to log-probabilities in chunks
(projection.py).

Shapes: N tokens of all rows in one axis, D hidden, V vocabulary, B rows, T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from atlas.objectives.head import LogitChange
from atlas.objectives.projection import ChunkedProjection

CHUNK_LOGITS, GPU_CHUNK_LOGITS = 2**22, 2**27
"""Numbers in the logits of one chunk unless the caller says otherwise: 16 MiB in float32, which a
processor's cache holds, or 512 MiB: a GPU wants a thousand tokens of a vocabulary of 128,000 at
once, since every chunk of the backward pass adds to the gradient of the whole vocabulary."""
MIN_CHUNK_TOKENS, MAX_CHUNK_TOKENS = 256, 4096
"""Fewer would multiply slowly."""
KEPT_LOGITS = 2**24
"""Numbers in all logits of a call up to which their probabilities are kept for the backward pass:
64 MiB in float32. Others are computed again."""
_PLAIN = LogitChange()


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectedLogprobs:
    """What the projection says about each target."""

    logprobs_N: Tensor
    """[N] in nats, with gradient; float32, or float64 for float64 inputs."""
    entropy_N: Tensor | None
    """[N] entropy of the whole distribution in nats, without gradient; None if not asked for."""


def selected_logprobs(
    hidden_ND: Tensor,
    lm_head_weight_VD: Tensor,
    targets_N: Tensor,
    *,
    bias_V: Tensor | None = None,
    temperature: float = 1.0,
    chunk_tokens: int | None = None,
    with_entropy: bool = False,
    change: LogitChange = _PLAIN,
) -> SelectedLogprobs:
    """Project hidden states onto the vocabulary in chunks; keep the targets' log-probabilities.

    Under autocast the projection runs in autocast's precision, forward and backward.

    Args:
        hidden_ND: [N, D] last hidden states of the *valid* positions, each one before its target.
        lm_head_weight_VD: [V, D]; gets a gradient only if it requires one.
        targets_N: [N] token ids, in 0 ... V - 1.
        bias_V: [V], for the few models whose head has one.
        temperature: Logits are divided by it, as the sampler does.
        chunk_tokens: Tokens a chunk; None picks a size that is fast, and keeps the probabilities
            of a small call for the backward pass. The results don't depend on it, but for rounding.
        change: What the model does to its logits; its temperature is set here.

    Raises:
        ValueError: If the temperature or the chunk is not positive.
    """
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}; it must be positive")
    keep = False
    if chunk_tokens is None:
        keep = len(targets_N) * lm_head_weight_VD.shape[0] <= KEPT_LOGITS
        chunk_tokens = fast_chunk(lm_head_weight_VD.shape[0], hidden_ND.device.type)
    if chunk_tokens < 1:
        raise ValueError(f"chunk_tokens is {chunk_tokens}; it must be at least 1")
    device_type = hidden_ND.device.type
    if torch.is_autocast_enabled(device_type):
        # Cast here, where autograd sees it, so that forward and recomputation use one precision.
        dtype = torch.get_autocast_dtype(device_type)
        hidden_ND, lm_head_weight_VD = hidden_ND.to(dtype), lm_head_weight_VD.to(dtype)
        bias_V = None if bias_V is None else bias_V.to(dtype)
    logprobs_N, entropy_N = ChunkedProjection.apply(
        hidden_ND,
        lm_head_weight_VD,
        bias_V,
        targets_N,
        replace(change, temperature=temperature),
        chunk_tokens,
        with_entropy,
        keep and torch.is_grad_enabled(),
    )
    return SelectedLogprobs(logprobs_N=logprobs_N, entropy_N=entropy_N if with_entropy else None)


def fast_chunk(vocab_size: int, device_type: str) -> int:
    """Return how many tokens are projected at once on a kind of device."""
    logits = CHUNK_LOGITS if device_type == "cpu" else GPU_CHUNK_LOGITS
    return min(MAX_CHUNK_TOKENS, max(MIN_CHUNK_TOKENS, logits // vocab_size))
