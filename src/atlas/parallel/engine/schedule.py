"""The learning rate over time: a factor of its peak, from the step and the shape."""

from __future__ import annotations

import math

from atlas.config.parts.optim import LrSchedulerType


def rate_factor(
    step: int, *, total_steps: int, kind: LrSchedulerType, warmup_ratio: float
) -> float:
    """Return the factor of the peak rate at a step.

    Args:
        step: Optimiser steps done, from 0.
        kind: ``cosine`` and ``linear`` fall to 0 at the end; ``constant`` stays.
        warmup_ratio: Share of the steps in which the factor rises linearly to 1. The first step
            never has rate 0, so that no step is wasted.
    """
    warmup = round(total_steps * warmup_ratio)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if kind == "constant":
        return 1.0
    done = min(1.0, (step - warmup) / max(1, total_steps - warmup))
    return 1 - done if kind == "linear" else (1 + math.cos(math.pi * done)) / 2
