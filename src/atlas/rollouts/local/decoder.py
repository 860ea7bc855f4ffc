"""What the in-process engine asks of a model: rows in flight, each one token further a step.

Two implementations: `GenericDecoder` runs any `transformers` causal language model as it is,
`LlamaDecoder` reads the weights of models of the Llama family and runs them itself.

Shapes: P prompts, G samples, B rows in flight, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from torch import Tensor

from atlas.rollouts.generator import Prompt


class Decoder(Protocol):
    """The caches of the rows in flight. Rows keep their order; new ones stand at the end."""

    @property
    def joins(self) -> bool:
        """Tell whether prompts may be admitted while other rows are in flight."""
        ...

    def computing(self) -> AbstractContextManager[object]:
        """Return the context that all of a call runs in; it is entered once."""
        ...

    def admit(self, prompts: Sequence[Prompt], num_samples: int) -> Tensor:
        """Compute each prompt once and put ``num_samples`` rows of it at the end.

        Returns:
            The logits of the last position of each prompt, repeated for its rows: [P * G, V].
        """
        ...

    def step(self, tokens_B: Tensor) -> Tensor:
        """Take one more token of every row and return the logits for the next one, [B, V]."""
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Keep only the rows at these places, which rise."""
        ...
