"""A hash over all that a training has done, step after step: two runs are one, or they aren't.

    chain(0)  = sha256(settings, weights before the first step)
    chain(n)  = sha256(chain(n - 1), n, what step n learned from, its loss, the weights after it)

Every line of ``metrics.jsonl`` has the chain as of its step, and every checkpoint too. A run that
was killed and went on has the chain of the run that wasn't, on the same processor, with the same
number of processes and with rollouts of the engine ``local``; where the chains of two runs part,
there they did something else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from atlas.config.parts.run import RunConfig
from atlas.config.resolve import shown_values
from atlas.run.config_file import CHANGEABLE
from atlas.types import Tokens

_LEFT_OUT = CHANGEABLE | {
    *("output_dir", "model_name_or_path", "student_model", "export_path", "ranked_path"),
    *("engine", "gradient_checkpointing", "max_tokens_per_micro_batch"),
}
"""Where things lie, what decides nothing of what is learned, and what the plan may choose."""


class Chain:
    """The chain of one run.

    Args:
        head: Of the step that the run goes on after; None for a new one.
        config: Of the run.
        weights: Returns the fingerprint of the weights as they are now.
    """

    def __init__(self, head: str | None, config: RunConfig, weights: Callable[[], str]) -> None:
        self._weights = weights
        values = shown_values(config)
        settings = sorted((name, repr(values[name])) for name in values.keys() - _LEFT_OUT)
        self.head = head or _hash(settings, weights())
        """Of the last step."""

    def add(self, step: int, learned_from: str, metrics: Mapping[str, float]) -> None:
        """Take a step: the digest of what it learned from, and its metrics."""
        self.head = _hash(self.head, step, learned_from, metrics.get("train/loss"), self._weights())


def digest(rows: Iterable[Tokens]) -> str:
    """Return the hash of rows: their tokens, what is learned of them, and how they were sampled."""
    return _hash(*((row.ids, row.trained, row.logprobs, row.advantage) for row in rows))


def fingerprint(model: nn.Module) -> str:
    """Return the hash of all that is trained in a model: of this process's share of it."""
    sums = [_sum(p.detach()) for p in model.parameters() if p.requires_grad]
    return _hash(torch.stack(sums).tolist() if sums else [])


def _sum(tensor: Tensor) -> Tensor:
    """Add a tensor's bytes up, eight at a time: any bit that differs changes the sum."""
    local = getattr(tensor, "to_local", lambda: tensor)()
    flat = local.contiguous().flatten().view(torch.uint8)
    whole = len(flat) // 8 * 8
    return flat[:whole].view(torch.int64).sum() + flat[whole:].sum(dtype=torch.int64)


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
