"""The maths once more, slow and obvious: Python loops over scalars, no masks, no broadcasting.

A ragged batch is a list of rows, each with its own length; a dead row is left out by not being in
the list. Scalars are 0-dimensional tensors, so that autograd gives the reference's gradient too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Row:
    """The log-probabilities of one completion, token by token."""

    policy: Sequence[Tensor]
    old: Sequence[Tensor]
    rollout: Sequence[Tensor]
    ref: Sequence[Tensor]
    advantage: float | Sequence[float]
    """One for all tokens, or one each."""


def loss_of_rows(
    rows: Sequence[Row],
    loss_type: str,
    *,
    beta: float,
    epsilon_low: float,
    epsilon_high: float,
    cap: float,
    max_length: int,
) -> Tensor:
    """Return the loss of one big batch."""
    num_tokens = sum(len(row.policy) for row in rows)
    loss = torch.zeros((), dtype=torch.float64)
    for row in rows:
        length = len(row.policy)
        one = isinstance(row.advantage, int | float)
        mean_log_ratio = sum(row.policy[t] - row.old[t] for t in range(length)) / length
        for t in range(length):
            advantage = row.advantage if one else row.advantage[t]
            log_ratio = mean_log_ratio if loss_type == "gspo" else row.policy[t] - row.old[t]
            ratio = torch.exp(torch.as_tensor(log_ratio))
            if loss_type == "cispo":
                weight = min(ratio.item(), 1 + epsilon_high)
                token_loss = -weight * advantage * row.policy[t]
            else:
                clipped = min(max(ratio.item(), 1 - epsilon_low), 1 + epsilon_high)
                plain = ratio * advantage
                bounded = torch.tensor(clipped * advantage, dtype=torch.float64)
                token_loss = -plain if plain.item() <= bounded.item() else -bounded
            token_loss = token_loss * min(torch.exp(row.old[t] - row.rollout[t]).item(), cap)
            difference = row.ref[t] - row.policy[t]
            token_loss = token_loss + beta * (torch.exp(difference) - difference - 1)
            if loss_type in ("grpo", "gspo"):
                loss = loss + token_loss / length / len(rows)
            elif loss_type == "dr_grpo":
                loss = loss + token_loss / (len(rows) * max_length)
            else:
                loss = loss + token_loss / num_tokens
    return loss


def advantages_of_groups(
    rewards: Sequence[Sequence[float | None]], scale: str, eps: float
) -> list[list[float]]:
    """Return advantages; None is an abstention. Live groups are those with two unlike rewards."""
    scored = [[r for r in group if r is not None] for group in rewards]
    everything = [r for group in scored for r in group]
    advantages = []
    for group, values in zip(rewards, scored, strict=True):
        if len(values) < 2 or max(values) == min(values):
            advantages.append([0.0] * len(group))
            continue
        mean = sum(values) / len(values)
        divisor = {
            "group": lambda values=values: _std(values) + eps,
            "batch": lambda: _std(everything) + eps,
            "none": lambda: 1.0,
        }[scale]()
        advantages.append([0.0 if r is None else (r - mean) / divisor for r in group])
    return advantages


def _std(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5


def ranked_loss_of_prompts(
    logprobs: Sequence[Sequence[Tensor]],
    scores: Sequence[Sequence[float]],
    *,
    sharpness: float,
    preference_weight: float,
    pairwise_weight: float,
) -> Tensor:
    """Return the mean over prompts of the ranked loss; each prompt has its own K."""
    total = torch.zeros((), dtype=torch.float64)
    for values, marks in zip(logprobs, scores, strict=True):
        weights = [torch.exp(torch.tensor(sharpness * s, dtype=torch.float64)) for s in marks]
        for weight, value in zip(weights, values, strict=True):
            total = total - preference_weight * weight / sum(weights) * value
        pairs = [
            (i, j) for i in range(len(marks)) for j in range(len(marks)) if marks[i] > marks[j]
        ]
        for i, j in pairs:
            loss = torch.log(1 + torch.exp(values[j] - values[i]))
            total = total + pairwise_weight * loss / len(pairs)
    return total / len(logprobs)
