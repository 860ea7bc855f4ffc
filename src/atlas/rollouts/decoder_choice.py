"""Which decoder runs a model: its weights read directly where that is known to be right.

A model of the Llama family is decoded from its weights once a check has found that this gives the
logits of the model's own forward. Any other model, and one that fails the check, runs through its
own forward; the log says so once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from atlas.rollouts.decoder import Decoder
from atlas.rollouts.generator import Prompt
from atlas.rollouts.generic_decoder import GenericDecoder
from atlas.rollouts.llama_decoder import LlamaDecoder
from atlas.rollouts.llama_weights import computing_dtype, read_weights, unfit

_log = logging.getLogger(__name__)

# Largest difference of logits, in standard deviations of the model's: rounding, and no more.
_TOLERANCE = 1e-3
_TOLERANCE_HALF = 0.2
"""Where the model, or the setting for products of float32, rounds to half precision or to TF32."""
_CHECKED_TOKENS = 64


class DecoderChoice:
    """Makes decoders for one model.

    Args:
        model: any causal language model.
        pad_id: fills up short prompts.
        dtype: precision to compute in; None: that of the model's weights.
    """

    def __init__(
        self, model: PreTrainedModel, pad_id: int, dtype: torch.dtype | None = None
    ) -> None:
        self._model = model
        self._pad_id = pad_id
        self._dtype = dtype
        self._checked = False
        self._reason: str | None = None
        self._logged: set[str] = set()

    @torch.no_grad()
    def decoder(self, prompts: Sequence[Prompt], longest: int) -> Decoder:
        """Return a decoder for one call of the engine.

        Args:
            prompts: what the call is about; the longest is used for the check.
            longest: most tokens of a sequence, the completion included.
        """
        reason = self._reason or unfit(self._model, longest)
        if reason is None:
            dtype = self._dtype or computing_dtype(self._model)
            weights = read_weights(self._model, dtype)
            if not self._checked:
                self._checked = True
                difference = self._difference(LlamaDecoder(weights, longest), max(prompts, key=len))
                if not difference <= self._tolerance():
                    self._reason = reason = (
                        f"decoding from its weights gave other logits (by {difference:.2g} of "
                        "their deviation)"
                    )
            if reason is None:
                return LlamaDecoder(weights, longest)
        self._log_once(reason)
        return GenericDecoder(self._model, self._pad_id, longest, self._dtype)

    def _tolerance(self) -> float:
        whole = (self._dtype or self._model.dtype) in (torch.float32, torch.float64)
        exact = whole and torch.get_float32_matmul_precision() == "highest"
        return _TOLERANCE if exact else _TOLERANCE_HALF

    def _difference(self, decoder: LlamaDecoder, prompt: Prompt) -> float:
        """Return how far the logits of a decoder are from those of the model's own forward."""
        ids = list(prompt[-_CHECKED_TOKENS:])
        tokens = torch.tensor([ids], device=self._model.device)
        model: Any = self._model
        expected: Tensor = model(input_ids=tokens, logits_to_keep=1).logits[0, -1].float()
        if len(ids) == 1:
            found = decoder.admit([ids], 1)
        else:
            decoder.admit([ids[:-1]], 2)
            found = decoder.step(tokens[0, -1:].expand(2))
        return float((found[-1].float() - expected).abs().max() / expected.std())

    def _log_once(self, reason: str) -> None:
        if reason not in self._logged:
            self._logged.add(reason)
            _log.info("%s runs through its own forward: %s", type(self._model).__name__, reason)
