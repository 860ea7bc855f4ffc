"""Any `transformers` causal language model, one token further a step, through its own forward.

Prompts are padded on the left, so that all rows write at the same place of the cache.

Shapes: P prompts, B rows, L tokens held (padding included), V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from atlas.machine.precision import computing
from atlas.rollouts.generator import Prompt
from atlas.rollouts.local.growing_cache import GrowingCache


class GenericDecoder:
    """Decodes one batch of prompts at a time.

    Args:
        model: any causal language model that takes a `DynamicCache`.
        pad_id: fills up short prompts.
        longest: most tokens of a sequence, the completion included.
        dtype: precision to compute in, by autocast; None: that of the model's weights.
    """

    joins = False

    def __init__(
        self, model: PreTrainedModel, pad_id: int, longest: int, dtype: torch.dtype | None = None
    ) -> None:
        self._autocast = dtype == torch.bfloat16
        self._longest = longest
        self._model: Any = model
        self._pad_id = pad_id

    def computing(self) -> AbstractContextManager[object]:
        """Return the context of the precision; see `Decoder.computing`.

        Autocast keeps the trained weights that it has rounded until it is left, so that they are
        rounded once a call, not once a token.
        """
        return computing(self._model.device, self._autocast)

    def admit(self, prompts: Sequence[Prompt], num_samples: int) -> Tensor:
        """Begin a batch; see `Decoder.admit`."""
        ids_PL, mask_PL = _left_padded(prompts, self._pad_id, self._model.device)
        self._cache = GrowingCache(self._model.config)
        positions_PL = (mask_PL.cumsum(dim=-1) - 1).clamp(min=0)
        logits_PV = self._forward(ids_PL, mask_PL, positions_PL)
        self._cache.batch_repeat_interleave(num_samples)
        self._mask_BL = mask_PL.repeat_interleave(num_samples, dim=0)
        self._position_B = mask_PL.sum(dim=-1).repeat_interleave(num_samples)
        return logits_PV.repeat_interleave(num_samples, dim=0)

    def step(self, tokens_B: Tensor) -> Tensor:
        """Take one more token of every row; see `Decoder.step`."""
        new_B1 = self._mask_BL.new_ones(len(tokens_B), 1)
        self._mask_BL = torch.cat([self._mask_BL, new_B1], dim=1)
        logits_BV = self._forward(
            tokens_B.unsqueeze(-1), self._mask_BL, self._position_B.unsqueeze(-1)
        )
        # Rows that have ended may still be here: they stay at the last position.
        self._position_B = (self._position_B + 1).clamp(max=self._longest - 1)
        return logits_BV

    def keep(self, rows: Sequence[int]) -> None:
        """Keep only the rows at these places."""
        kept_B = torch.tensor(rows, dtype=torch.int64, device=self._mask_BL.device)
        self._cache.batch_select_indices(kept_B)
        self._mask_BL = self._mask_BL[kept_B]
        self._position_B = self._position_B[kept_B]

    def _forward(self, ids_BL: Tensor, mask_BL: Tensor, positions_BL: Tensor) -> Tensor:
        output = self._model(
            input_ids=ids_BL,
            attention_mask=mask_BL,
            position_ids=positions_BL,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1]


def _left_padded(
    prompts: Sequence[Prompt], pad_id: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return ids [P, L] and mask [P, L] (1 = real)."""
    longest = max(len(prompt) for prompt in prompts)
    ids = [[pad_id] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
