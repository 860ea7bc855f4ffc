"""Does a model find better responses likelier? Its likelihoods against the ranks of the data.

Input: a model and examples that it hasn't seen. Output: the share of pairs in the right order.

Shapes: P prompts, K responses; i and j run over responses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from atlas.from_scratch.training.batches import by_prompt
from atlas.from_scratch.training.group_steps import Precision, batches_of
from atlas.machine.precision import computing
from atlas.models.passes.forward import logprobs
from atlas.objectives.ranked import response_logprobs
from atlas.training.micro_batches import Group


@dataclass(frozen=True, kw_only=True, slots=True)
class RankingFigures:
    """How a model ranks responses that it hasn't seen."""

    accuracy: float
    """Share of the pairs with different scores in which the better response is likelier (mean
    log-probability a token); NaN without such a pair."""
    num_pairs: int
    loss: float
    """Mean negative log-likelihood of the best response, nats a token."""


@torch.inference_mode()
def ranking_figures(
    model: PreTrainedModel, examples: Sequence[Group], precision: Precision
) -> RankingFigures:
    """Return how well a model's likelihoods order the responses of each prompt."""
    right = pairs = 0
    best: list[float] = []
    was_training = model.training
    model.eval()
    for batch in batches_of(model, examples, precision):
        with computing(model.device, precision.autocast):
            found = logprobs(model, [row for group in batch for row in group])
        likely_B = response_logprobs(found.logprobs_BT, found.mask_BT)
        likely_PK, scores_PK, mask_PK = by_prompt(likely_B, batch)
        scores_PK = scores_PK.masked_fill(~mask_PK, -torch.inf)
        better_Pij = scores_PK.unsqueeze(-1) > scores_PK.unsqueeze(-2)
        better_Pij &= mask_PK.unsqueeze(-2)
        likelier_Pij = likely_PK.unsqueeze(-1) > likely_PK.unsqueeze(-2)
        right += int((better_Pij & likelier_Pij).sum())
        pairs += int(better_Pij.sum())
        best += (-likely_PK.gather(1, scores_PK.argmax(1, keepdim=True))).flatten().tolist()
    model.train(was_training)
    return RankingFigures(
        accuracy=right / pairs if pairs else float("nan"),
        num_pairs=pairs,
        loss=sum(best) / len(best) if best else float("nan"),
    )
