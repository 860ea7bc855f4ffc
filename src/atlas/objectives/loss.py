"""The loss of the online update: log-probabilities of one micro-batch -> scalar and metrics.

    loss = reduce(w surrogate + beta KL) / denominator

with ``w`` the truncated importance weight of the rollout engine (importance.py), the surrogate of
the loss type (loss_types.py) and the KL to the reference (kl.py), none of it weighted by ``w``.

Loss and metrics are shares of the whole optimiser step: *add* them over micro-batches and ranks.
(Where a wrapper averages gradients over ranks, multiply the loss by the number of ranks.)

Shapes: B rows, T completion tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from atlas.objectives.importance import importance_weights
from atlas.objectives.kl import KL_ESTIMATORS, kl_k1, kl_k3
from atlas.objectives.loss_types import LOSS_VARIANTS, LossSettings, denominator
from atlas.objectives.reduction import StepCounts, fill_masked, token_sum
from atlas.objectives.surrogate import SurrogateInputs, SurrogateTerms


@dataclass(frozen=True, kw_only=True, slots=True)
class LossInputs:
    """One micro-batch. Masked places may hold anything, NaN included."""

    policy_logprobs_BT: Tensor
    """[B, T] of the sampled tokens under the policy, in nats, with gradient."""
    advantages_BT: Tensor
    """[B, T], or [B, 1] with one for all tokens of a row."""
    mask_BT: Tensor
    """[B, T] bool, True at sampled tokens; False along rows of dead groups, and at what
    was only read."""
    step_counts: StepCounts
    """Of the whole optimiser step, over all micro-batches and ranks."""
    old_logprobs_BT: Tensor | None = None
    """[B, T] under the policy at the start of the step; None: on policy, the same as the policy."""
    rollout_logprobs_BT: Tensor | None = None
    """[B, T] as reported by the engine that sampled; None: no correction for its mismatch."""
    ref_logprobs_BT: Tensor | None = None
    """[B, T] under the reference; None only with beta 0. With beta 0 its KL is only logged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LossOutputs:
    """The micro-batch's share of the step, as scalars."""

    loss: Tensor
    """To be backpropagated; adds up."""
    metrics: Mapping[str, Tensor]
    """Without gradient; adds up to means over the step's valid tokens, ``kl`` over its rows.

    Always: ``ratio_mean``, ``clip_ratio``, ``clip_ratio_low``, ``clip_ratio_high``. With a
    reference: ``kl`` (summed over a row's tokens), ``kl_per_token``, ``kl_k1_per_token``. With
    rollout log-probabilities: ``importance_ratio_mean`` (before truncation),
    ``importance_truncated`` (share), ``mismatch_kl`` (KL of the engine from the trainer, k3).
    """
    maxima: Mapping[str, Tensor]
    """Without gradient, ``ratio_max`` and ``importance_ratio_max``; take the largest over
    micro-batches and ranks."""


def grpo_loss(inputs: LossInputs, settings: LossSettings) -> LossOutputs:
    """Loss of one micro-batch of the online update.

    Args:
        inputs: Log-probabilities, advantages, mask and the step's counts.
        settings: Loss type, beta, clips and caps.

    Returns:
        Loss, metrics and maxima; all 0 if every place is masked.

    Raises:
        ValueError: If beta is not 0 and there are no reference log-probabilities.
    """
    if settings.beta and inputs.ref_logprobs_BT is None:
        raise ValueError(f"beta is {settings.beta}, so ref_logprobs_BT is needed; it is None")
    variant = LOSS_VARIANTS[settings.loss_type]
    mask_BT, counts = inputs.mask_BT, inputs.step_counts
    # The one gate for the gradient: whatever a masked place holds below, none passes back here.
    policy_BT = fill_masked(inputs.policy_logprobs_BT, mask_BT)
    old_BT = policy_BT if inputs.old_logprobs_BT is None else inputs.old_logprobs_BT

    def mean(values_BT: Tensor) -> Tensor:
        return token_sum(values_BT.detach(), mask_BT, max(counts.num_tokens, 1))

    surrogate_inputs = SurrogateInputs(
        policy_logprobs_BT=policy_BT,
        old_logprobs_BT=old_BT,
        advantages_BT=inputs.advantages_BT,
        mask_BT=mask_BT,
    )
    terms = variant.surrogate(surrogate_inputs, settings.epsilon_low, settings.epsilon_high)
    loss_BT = terms.loss_BT
    metrics = _clip_metrics(terms, mean)
    maxima = {"ratio_max": fill_masked(terms.ratio_BT, mask_BT).amax()}

    if inputs.rollout_logprobs_BT is not None:
        rollout_BT = inputs.rollout_logprobs_BT
        importance = importance_weights(
            old_BT, rollout_BT, mask_BT, settings.importance_cap, settings.importance_level
        )
        loss_BT = importance.weights_BT * loss_BT
        metrics["importance_ratio_mean"] = mean(importance.raw_BT)
        metrics["importance_truncated"] = mean(importance.truncated_BT)
        metrics["mismatch_kl"] = mean(kl_k3(rollout_BT, old_BT))
        maxima["importance_ratio_max"] = fill_masked(importance.raw_BT, mask_BT).amax()

    if inputs.ref_logprobs_BT is not None:
        ref_BT = inputs.ref_logprobs_BT
        kl_BT = KL_ESTIMATORS[settings.kl_estimator](policy_BT, ref_BT)
        if settings.beta:
            loss_BT = loss_BT + settings.beta * kl_BT
        metrics["kl"] = token_sum(kl_BT.detach(), mask_BT, max(counts.num_sequences, 1))
        metrics["kl_per_token"] = mean(kl_BT)
        metrics["kl_k1_per_token"] = mean(kl_k1(policy_BT, ref_BT))

    loss = variant.reduce(loss_BT, mask_BT, denominator(counts, settings))
    return LossOutputs(loss=loss, metrics=metrics, maxima=maxima)


def _clip_metrics(terms: SurrogateTerms, mean: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """Return how far the policy has moved within the step, and how much of that was clipped."""
    low, high = mean(terms.clipped_low_BT), mean(terms.clipped_high_BT)
    return {
        "ratio_mean": mean(terms.ratio_BT),
        "clip_ratio_low": low,
        "clip_ratio_high": high,
        "clip_ratio": low + high,
    }
