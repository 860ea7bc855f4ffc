"""Next-token cross-entropy: log-probabilities of the right tokens -> the loss of SFT and LM.

    loss = -sum over valid tokens of policy / denominator

With the valid tokens of the whole optimiser step as denominator this is the mean a token, however
the step is cut into micro-batches and ranks.

Shapes: B rows, T tokens.
"""

from __future__ import annotations

from torch import Tensor

from atlas.objectives.reduction import token_sum


def cross_entropy(policy_logprobs_BT: Tensor, mask_BT: Tensor, num_tokens: float) -> Tensor:
    """Negative log-likelihood of the selected tokens, divided by their number in the step.

    Args:
        policy_logprobs_BT: [B, T] log-probability of the token that should come, in nats.
        mask_BT: [B, T] bool, True at tokens that are trained; other places may hold anything.
        num_tokens: Trained tokens of the whole optimiser step; an empty step counts as 1.

    Returns:
        A scalar in nats a token; values of micro-batches and ranks add up.
    """
    return -token_sum(policy_logprobs_BT, mask_BT, max(num_tokens, 1))
