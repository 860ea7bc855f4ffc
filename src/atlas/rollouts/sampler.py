"""The one definition of how a token is drawn from logits.

Shapes: B rows, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from atlas.rollouts.generator import Sampling


def draw(logits_BV: Tensor, sampling: Sampling, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw one token a row.

    Args:
        logits_BV: [B, V] raw logits.
        sampling: temperature and top_p.
        random: source of chance; unused when greedy.

    Returns:
        tokens_B and their log-probabilities_B (float32) under softmax(logits / temperature), the
        tail that ``top_p`` cuts still counted.
    """
    logits_BV = logits_BV.float()
    if sampling.temperature == 0:
        tokens_B = logits_BV.argmax(dim=-1)
    else:
        logits_BV = logits_BV / sampling.temperature
        probs_BV = nucleus(logits_BV.softmax(dim=-1), sampling.top_p)
        tokens_B = torch.multinomial(probs_BV, 1, generator=random).squeeze(-1)
    chosen_B = logits_BV.gather(-1, tokens_B.unsqueeze(-1)).squeeze(-1)
    return tokens_B, chosen_B - logits_BV.logsumexp(dim=-1)


def nucleus(probs_BV: Tensor, top_p: float) -> Tensor:
    """Zero all but the smallest set of tokens that holds ``top_p`` (Holtzman et al. 2020, eq. 2).

    The token that crosses the threshold is kept. Not renormalised.
    """
    if top_p >= 1:
        return probs_BV
    sorted_BV, order_BV = probs_BV.sort(dim=-1, descending=True)
    before_BV = sorted_BV.cumsum(dim=-1) - sorted_BV
    kept_BV = sorted_BV.masked_fill(before_BV >= top_p, 0.0)
    return torch.zeros_like(probs_BV).scatter(-1, order_BV, kept_BV)
