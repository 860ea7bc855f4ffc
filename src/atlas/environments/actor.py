"""A policy with the engine that samples from it, and its episodes in an environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from transformers import PreTrainedTokenizerBase

from atlas.errors import AtlasError
from atlas.prompts.renderer import Renderer
from atlas.rollouts.generator import Generator, Prompt, Sampling
from atlas.types import Completion


@dataclass(frozen=True, kw_only=True, slots=True)
class Actor:
    """A policy that acts; its weights may change between calls."""

    generator: Generator
    renderer: Renderer
    """How it is spoken to."""
    sampling: Sampling
    window: int | None = None
    """Tokens of prompt and completion together; None: no limit is known."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The policy's."""
        return self.renderer.tokenizer

    def complete(
        self, prompts: Sequence[Prompt], *, num_samples: int = 1, seed: int, first_place: int = 0
    ) -> list[list[Completion]]:
        """Complete prompts as `Generator.generate` does; texts are what is said after thoughts."""
        made = self.generator.generate(
            prompts, self.sampling, num_samples=num_samples, seed=seed, first_place=first_place
        )
        return [[self.renderer.said(one) for one in group] for group in made]

    def cut(self, completion: Completion) -> Completion:
        """Return a longer completion as this actor's limit would have cut it."""
        ids = completion.token_ids[: self.sampling.max_new_tokens]
        text = str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()
        return self.renderer.said(replace(completion, token_ids=ids, text=text))

    def with_limit(self, max_new_tokens: int) -> Actor:
        """Return the same with another limit of new tokens."""
        return replace(self, sampling=replace(self.sampling, max_new_tokens=max_new_tokens))

    def has_room(self, prompt: int) -> bool:
        """Tell whether the longest completion fits behind a prompt of so many tokens."""
        return self.window is None or prompt + self.sampling.max_new_tokens <= self.window

    def require_room(self, who: str, prompt: int, *, key: str = "max_new_tokens") -> None:
        """Refuse a limit that the model has no room for.

        Args:
            who: Has that prompt, for the message.
            prompt: Tokens of the longest prompt.
            key: Of the configuration, which sets the limit.

        Raises:
            AtlasError: A prompt and its completion can be longer than the window.
        """
        if self.window is None or self.has_room(prompt):
            return
        left, new = self.window - prompt, self.sampling.max_new_tokens
        fits = f"at most {key}={left} fits" if left > 0 else "take a model with a longer window"
        raise AtlasError(
            f"{key}={new} doesn't fit: a prompt of the {who} takes up to {prompt} tokens and its "
            f"model has room for {self.window}; {fits}"
        )
