"""An engine that answers as a test says, and writes down what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.unit.tiny_models import tiny_renderer, tiny_tokenizer

from atlas.environments.actor import Actor
from atlas.prompts.chat import turn_end_id
from atlas.rollouts.generator import Prompt, Sampling
from atlas.types import Completion


class Call(NamedTuple):
    """What `Scripted.generate` was called with."""

    prompts: list[tuple[int, ...]]
    sampling: Sampling
    num_samples: int
    seed: int
    first_place: int


@dataclass
class Scripted:
    """Says ``say(text of the prompt)``, with `` #g`` behind it where G are asked for."""

    say: Callable[[str], str]
    calls: list[Call] = field(default_factory=list)

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        *,
        num_samples: int = 1,
        seed: int = 0,
        first_place: int = 0,
    ) -> list[list[Completion]]:
        """See `Generator.generate`."""
        asked = [tuple(prompt) for prompt in prompts]
        self.calls.append(Call(asked, sampling, num_samples, seed, first_place))
        return [[self._said(ids, g, num_samples) for g in range(num_samples)] for ids in asked]

    def _said(self, ids: tuple[int, ...], g: int, num_samples: int) -> Completion:
        tokenizer = tiny_tokenizer()
        text = self.say(str(tokenizer.decode(list(ids)))) + (f" #{g}" if num_samples > 1 else "")
        made = (*tokenizer.encode(text, add_special_tokens=False), turn_end_id(tokenizer))
        return Completion(
            prompt_ids=ids,
            token_ids=made,
            logprobs=(-0.5,) * len(made),
            text=text,
            finish_reason="stop",
        )


def actor(engine: Scripted, temperature: float = 0.0, window: int | None = None) -> Actor:
    """The engine as an actor that says at most 50 tokens."""
    return Actor(
        generator=engine,
        renderer=tiny_renderer(),
        sampling=Sampling(max_new_tokens=50, temperature=temperature),
        window=window,
    )
