"""The guide's ``grpo_loss(responses, rankings)``, for one prompt and texts, in the guide's words.

    log_probs       = mean log-probability of each response's tokens, given the prompt
    preferences     = softmax(rankings * temperature)
    loss            = -(log_probs * preferences).sum() + 0.5 * pairwise ranking loss

Input: a model, its tokenizer, a prompt, responses with their rankings. Output: a loss to be
backpropagated. It is the loss that the ranked stage trains with (objectives/ranked.py), in a form
for notebooks and own loops; the stage itself takes many prompts at once (group_steps.py).

Shapes: K responses.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from atlas.models.passes.forward import logprobs
from atlas.objectives.ranked import LogprobReduction, ranked_loss, response_logprobs
from atlas.prompts.chat import answer_ids, encode
from atlas.types import Tokens


def compute_log_probs(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    responses: Sequence[str],
    *,
    reduction: LogprobReduction = "mean",
) -> Tensor:
    """Return the log-probability of each response given the prompt, [K] in nats, with gradient.

    Args:
        model: Any causal language model.
        tokenizer: With a chat template; the prompt is a user's turn, a response the assistant's,
            its end included.
        prompt: What was asked.
        responses: K texts.
        reduction: ``mean`` over a response's tokens, or their ``sum``.

    Raises:
        ValueError: There is no response.
    """
    if not responses:
        raise ValueError("responses is empty; give one at least")
    asked = encode(tokenizer, [{"role": "user", "content": prompt}])
    found = logprobs(model, [Tokens.of(asked, answer_ids(tokenizer, r)) for r in responses])
    return response_logprobs(found.logprobs_BT, found.mask_BT, reduction)


def grpo_loss(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    responses: Sequence[str],
    rankings: Sequence[float] | Tensor,
    *,
    temperature: float = 1.0,
    pairwise_weight: float = 0.5,
) -> Tensor:
    """Return the guide's loss of one prompt, a scalar with gradient; the name is the guide's too.

    Args:
        model: Any causal language model.
        tokenizer: With a chat template.
        prompt: What was asked.
        responses: K texts.
        rankings: K numbers or a tensor [K], higher is better; ranks (1 is best) with a minus before
            them.
        temperature: Multiplies the rankings, as the guide writes it: higher prefers the best more.
        pairwise_weight: Of the second term.

    Raises:
        ValueError: There is no response, or there are not as many rankings as responses.
    """
    scores_K = torch.as_tensor(rankings, dtype=torch.float32).detach()
    if scores_K.shape != (len(responses),):
        shape = "" if scores_K.dim() == 1 else f" of shape {list(scores_K.shape)}"
        raise ValueError(f"{len(responses)} responses, but {scores_K.numel()} rankings{shape}")
    log_probs_1K = compute_log_probs(model, tokenizer, prompt, responses).unsqueeze(0)
    scores_1K = scores_K.to(log_probs_1K).unsqueeze(0)
    mask_1K = torch.ones_like(scores_1K, dtype=torch.bool)
    return ranked_loss(
        log_probs_1K,
        scores_1K,
        mask_1K,
        1,
        sharpness=temperature,
        pairwise_weight=pairwise_weight,
    ).loss
