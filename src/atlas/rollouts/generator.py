"""What every rollout engine offers: prompts of token ids in, `Completion`s out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

from atlas.errors import AtlasError
from atlas.types import Completion

Prompt = Sequence[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How tokens are drawn.

    ``rollout_logprobs`` are those of softmax(logits / temperature), the distribution whose
    log-probabilities the trainer computes; greedy sampling reports them at temperature 1. They are
    taken before ``top_k``, ``top_p`` and ``min_p`` cut the tail and before ``repetition_penalty``:
    the trainer knows of neither. A penalty therefore samples from another distribution than the
    one reported, and training on such samples is a little off-policy without a correction.

    Raises:
        ValueError: A value is out of its range; the message names it.
    """

    max_new_tokens: int
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    """Nucleus: the smallest set of tokens that holds this share of the probability."""
    top_k: int = 0
    """Only this many of the likeliest tokens; 0: all. ``top_p`` is a share of what is left."""
    min_p: float = 0.0
    """Only tokens with at least this share of the likeliest token's probability."""
    repetition_penalty: float = 1.0
    """Logits of tokens that stand in the prompt or the completion are divided by it where they are
    positive, multiplied where negative; 1 changes nothing."""
    stop: tuple[str, ...] = ()
    """Texts that end a completion. It keeps the token that completes one of them."""

    @classmethod
    def of(cls, config: object) -> Sampling:
        """Return the sampling that a job's configuration describes; keys it lacks are as here."""
        given: dict[str, Any] = {
            one.name: getattr(config, one.name) for one in fields(cls) if hasattr(config, one.name)
        }
        return cls(**{**given, "stop": given.get("stop") or ()})

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        for name, fits, expected in (
            ("max_new_tokens", self.max_new_tokens >= 1, "at least 1"),
            ("temperature", self.temperature >= 0, "at least 0"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("top_k", self.top_k >= 0, "at least 0"),
            ("min_p", 0 <= self.min_p <= 1, "between 0 and 1"),
            ("repetition_penalty", self.repetition_penalty > 0, "above 0"),
            ("stop", not isinstance(self.stop, str) and all(self.stop), "texts, none empty"),
        ):
            if not fits:
                raise ValueError(f"{name} must be {expected}, not {getattr(self, name)!r}")


class Generator(Protocol):
    """A rollout engine."""

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        *,
        num_samples: int = 1,
        seed: int = 0,
        first_place: int = 0,
    ) -> list[list[Completion]]:
        """Complete every prompt ``num_samples`` times.

        Args:
            prompts: P prompts of token ids.
            num_samples: G completions for each prompt; the prompt is computed once.
            seed: equal seeds give equal completions on the same machine.
            first_place: place of the first prompt among those that share the seed. A call for some
                of them, with their places, gives what one call for all gives.

        Returns:
            P lists of G completions, in the order of the prompts.
        """
        ...


def completion_limits(
    prompts: Sequence[Prompt], sampling: Sampling, window: int | None
) -> list[int]:
    """Return the most tokens of a completion of each prompt.

    Args:
        prompts: P prompts.
        sampling: Says how long completions may be.
        window: Tokens of prompt and completion together; None where there is no end to them.

    Raises:
        AtlasError: A prompt leaves no room for a token in the window.
        ValueError: A prompt is empty.
    """
    limits: list[int] = []
    for index, prompt in enumerate(prompts):
        if not prompt:
            raise ValueError(f"prompt {index} is empty")
        room = window - len(prompt) if window else sampling.max_new_tokens
        if room < 1:
            raise AtlasError(
                f"a prompt has {len(prompt)} tokens, but the model's window holds {window} "
                "with the completion; shorten the prompt or choose another model"
            )
        limits.append(min(room, sampling.max_new_tokens))
    return limits
