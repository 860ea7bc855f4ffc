"""Offline learning from ranked responses: log-probabilities and scores of K responses -> loss.

    l_k  = mean (or sum) over tokens of policy, for response k given its prompt
    p    = softmax(sharpness s)                                s: scores, higher is better
    loss = - a sum_k p_k l_k  +  w mean over pairs with s_i > s_j of -log sigmoid(l_i - l_j)

The first term is cross-entropy with the preferences as soft labels (the listwise loss of Cao et al.
2007, "Learning to rank: from pairwise approach to listwise approach", on plain log-likelihoods);
the second is the logistic loss of Bradley and Terry 1952 ("Rank analysis of incomplete block
designs"). Ties make no pair. One response alone has no pairs and p = 1: plain likelihood.

Shapes: P prompts, K responses, B rows, T tokens; i and j run over responses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from atlas.objectives.reduction import fill_masked, row_means

LogprobReduction = Literal["mean", "sum"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RankedLoss:
    """The two terms, unweighted, and their weighted sum, as scalars that add up over batches."""

    loss: Tensor
    preference: Tensor
    pairwise: Tensor


def scores_from_ranks(ranks_PK: Tensor) -> Tensor:
    """Turn ranks round: rank 1, the best, gets the highest score; one score a rank.

    Args:
        ranks_PK: [P, K], 1 is best, ties allowed.

    Returns:
        [P, K] ``-rank``. Only differences of scores matter to the loss.
    """
    return -ranks_PK.to(torch.get_default_dtype())


def response_logprobs(
    policy_logprobs_BT: Tensor, mask_BT: Tensor, reduction: LogprobReduction = "mean"
) -> Tensor:
    """Log-probability of each response, from those of its tokens.

    Args:
        policy_logprobs_BT: [B, T] in nats; masked places may hold anything.
        mask_BT: [B, T] bool, True at response tokens, end-of-sequence token included.
        reduction: ``mean`` compares responses of different lengths fairly; ``sum`` is the
            probability of the whole response.

    Returns:
        [B].
    """
    if reduction == "mean":
        return row_means(policy_logprobs_BT, mask_BT)
    return fill_masked(policy_logprobs_BT, mask_BT).sum(-1)


def ranked_loss(
    logprobs_PK: Tensor,
    scores_PK: Tensor,
    mask_PK: Tensor,
    num_prompts: float,
    *,
    sharpness: float = 1.0,
    preference_weight: float = 1.0,
    pairwise_weight: float = 0.5,
) -> RankedLoss:
    """Raise likely good responses, and good ones over bad ones.

    Args:
        logprobs_PK: [P, K] ``response_logprobs``, with gradient.
        scores_PK: [P, K] higher is better; ``scores_from_ranks`` makes them from ranks.
        mask_PK: [P, K] bool, False where a prompt has fewer than K responses; anything may stand
            there, in both tensors.
        num_prompts: Prompts of the whole optimiser step; the sum over prompts is divided by it.
        sharpness: 0 prefers all alike, infinity only the best.
        preference_weight: Weight of the first term.
        pairwise_weight: Weight of the second.

    Returns:
        Loss and terms; 0 for prompts without a response.
    """
    logprobs_PK = fill_masked(logprobs_PK, mask_PK)
    scores_PK = fill_masked(scores_PK.detach(), mask_PK).to(logprobs_PK.dtype)
    denominator = max(num_prompts, 1)

    # The lowest number, not -inf: a prompt without any response stays finite, and its
    # log-probabilities are 0.
    lowest = torch.finfo(scores_PK.dtype).min
    logits_PK = (sharpness * scores_PK).masked_fill(~mask_PK, lowest)
    preferences_PK = logits_PK.softmax(-1)
    preference = -(preferences_PK * logprobs_PK).sum() / denominator

    better_Pij = scores_PK.unsqueeze(-1) > scores_PK.unsqueeze(-2)
    pairs_Pij = better_Pij & mask_PK.unsqueeze(-1) & mask_PK.unsqueeze(-2)
    margin_Pij = logprobs_PK.unsqueeze(-1) - logprobs_PK.unsqueeze(-2)
    pair_losses_Pij = fill_masked(-logsigmoid(margin_Pij), pairs_Pij)
    num_pairs_P = pairs_Pij.sum((-2, -1)).clamp(min=1)
    pairwise = (pair_losses_Pij.sum((-2, -1)) / num_pairs_P).sum() / denominator

    return RankedLoss(
        loss=preference_weight * preference + pairwise_weight * pairwise,
        preference=preference.detach(),
        pairwise=pairwise.detach(),
    )
