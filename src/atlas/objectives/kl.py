"""KL divergence of the policy from the reference, estimated at each sampled token.

With ``d = ref - policy`` (log-probabilities of the token that was sampled from the policy):

    k1 = -d                  unbiased, signed, high variance
    k2 = d^2 / 2             biased, never negative
    k3 = exp(d) - d - 1      unbiased, never negative, low variance; the default

Source: J. Schulman, "Approximating KL divergence" (joschu.net/blog/kl-approx.html, 2020); k3 in the
loss: Shao et al. 2024 (DeepSeekMath, arXiv 2402.03300), equation 4. As a term of the loss only the
gradient counts, and k1's has mean zero on samples of the policy: it pulls nowhere and is for the
log. k2's is the gradient of this KL; k3's that of the reversed one, near equality the same (Tang
and Munos 2025, arXiv 2506.09477).

``d`` is clamped at ``MAX_LOG_RATIO`` from above before ``exp``: a token that the reference
finds e^20 times likelier would otherwise own the whole batch, or overflow. Beyond the clamp the
value of k3 stays and its gradient is zero. Nothing is clamped from below, where k3 is linear.

Shapes: any, the same for both arguments (B rows, T tokens in the callers).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from atlas.objectives.ratio import MAX_LOG_RATIO

KlEstimator = Literal["k1", "k2", "k3"]


def kl_k1(policy_logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Return ``policy - ref``.

    Args:
        policy_logprobs: Log-probabilities of the sampled tokens, in nats.
        ref_logprobs: The same under the reference; gets no gradient.

    Returns:
        The same shape, in nats; may be negative.
    """
    return policy_logprobs - ref_logprobs.detach()


def kl_k2(policy_logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Return ``(policy - ref)^2 / 2``.

    Args:
        policy_logprobs: Log-probabilities of the sampled tokens, in nats.
        ref_logprobs: The same under the reference; gets no gradient.

    Returns:
        The same shape, not negative.
    """
    return 0.5 * (ref_logprobs.detach() - policy_logprobs).square()


def kl_k3(policy_logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Return ``exp(d) - d - 1`` with ``d = ref - policy``, clamped at 20.

    Args:
        policy_logprobs: Log-probabilities of the sampled tokens, in nats.
        ref_logprobs: The same under the reference; gets no gradient.

    Returns:
        The same shape, not negative.
    """
    difference = (ref_logprobs.detach() - policy_logprobs).clamp(max=MAX_LOG_RATIO)
    # expm1 keeps the digits that exp(d) - 1 loses near d = 0, where most tokens are.
    return torch.expm1(difference) - difference


KL_ESTIMATORS: Mapping[KlEstimator, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType(
    {"k1": kl_k1, "k2": kl_k2, "k3": kl_k3}
)
"""``(policy_logprobs, ref_logprobs) -> KL at each token``, by name."""
