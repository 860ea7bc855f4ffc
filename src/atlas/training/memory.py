"""A step's micro-batches once more, half as large, where a GPU's memory runs out in one of them.

Every share of a loss has the denominator of the whole step, so that halves have the gradient of the
whole. What was added up before is thrown away: a backward pass that broke off has added some of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch

from atlas.parallel.engine.plain import PlainEngine
from atlas.parallel.engine.protocol import Engine

P = TypeVar("P")
T = TypeVar("T")
logger = logging.getLogger(__name__)


def within_memory(
    engine: Engine,
    parts: Sequence[P],
    take: Callable[[Sequence[P]], T],
    halves: Callable[[P], Sequence[P]],
) -> tuple[T, Sequence[P]]:
    """Return what the passes of a step make, and the micro-batches that they had room for.

    One process that holds everything can begin again. Others wait in the middle of an exchange, so
    there the error stands.

    Args:
        engine: Its gradients are those of this step alone.
        parts: The micro-batches.
        take: Takes all passes forward and backward.
        halves: Cuts a micro-batch in two; one that can't be cut it returns as it is.

    Raises:
        torch.OutOfMemoryError: Nothing is left to halve.
    """
    while True:
        try:
            return take(parts), parts
        except torch.OutOfMemoryError:
            smaller = [half for part in parts for half in halves(part)]
            if type(engine) is not PlainEngine or len(smaller) == len(parts):
                raise
        for weight in engine.trained.parameters():
            weight.grad = None
        torch.cuda.empty_cache()
        logger.warning(
            "the GPU's memory ran out: the step is taken again in %d passes of half the size "
            "instead of %d",
            len(smaller),
            len(parts),
        )
        parts = smaller


def halved(rows: Sequence[Any]) -> Sequence[Sequence[Any]]:
    """Cut rows in two; one alone stays."""
    middle = len(rows) // 2
    return [rows[:middle], rows[middle:]] if middle else [rows]
