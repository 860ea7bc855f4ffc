"""What every rollout engine offers: prompts of token ids in, `Completion`s out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from atlas.types import Completion

Prompt = Sequence[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How tokens are drawn.

    ``rollout_logprobs`` are those of softmax(logits / temperature) before ``top_p`` cuts the
    tail, the distribution whose log-probabilities the trainer computes; greedy sampling reports
    them at temperature 1.
    """

    max_new_tokens: int
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    """Nucleus: the smallest set of tokens that holds this share of the probability."""


class Generator(Protocol):
    """A rollout engine."""

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, num_samples: int = 1, seed: int = 0
    ) -> list[list[Completion]]:
        """Complete every prompt ``num_samples`` times.

        Args:
            prompts: P prompts of token ids.
            sampling: how tokens are drawn.
            num_samples: G completions for each prompt; the prompt is computed once.
            seed: equal seeds give equal completions on the same machine.

        Returns:
            P lists of G completions, in the order of the prompts.
        """
        ...
