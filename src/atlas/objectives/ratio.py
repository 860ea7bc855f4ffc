"""From a difference of log-probabilities to a ratio of probabilities, without overflow.

    ratio = exp(min(log ratio, 20))

An infinite ratio turns into NaN in the backward pass (0 x infinity) even where a clip or a cap
discards it. Below the bound this is ``exp``, value and gradient; beyond it the value stays at e^20,
about 5e8, and the gradient is zero.
"""

from __future__ import annotations

from torch import Tensor

MAX_LOG_RATIO = 20.0
"""Largest difference of two log-probabilities, in nats, that goes into ``exp``."""


def bounded_exp(log_ratio: Tensor) -> Tensor:
    """Return ``exp`` of the log ratio, held at e^20.

    Args:
        log_ratio: Any shape, in nats.

    Returns:
        The same shape, positive and finite.
    """
    return log_ratio.clamp(max=MAX_LOG_RATIO).exp()
