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

from atlas.rollouts.generator import Prompt
from atlas.rollouts.local.decoder import Decoder
from atlas.rollouts.local.generic_decoder import GenericDecoder
from atlas.rollouts.local.llama_decoder import LlamaDecoder
from atlas.rollouts.local.llama_weights import computing_dtype, read_weights, unfit

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
        dtype = self._dtype or computing_dtype(self._model)
        generic = GenericDecoder(self._model, self._pad_id, longest, self._dtype)
        reason = self._reason or unfit(self._model, longest, self._dtype)
        if reason is None:
            weights = read_weights(self._model, dtype)
            if not self._checked:
                self._checked = True
                prompt = max(prompts, key=len)[-_CHECKED_TOKENS:]
                with generic.computing():
                    expected_V = self._expected(prompt)
                difference = _difference(LlamaDecoder(weights, longest), prompt, expected_V)
                if not difference <= self._tolerance():
                    self._reason = reason = (
                        f"decoding from its weights gave other logits (by {difference:.2g} of "
                        "their deviation)"
                    )
            if reason is None:
                return LlamaDecoder(weights, longest)
        self._log_once(reason)
        return generic

    def _tolerance(self) -> float:
        whole = (self._dtype or self._model.dtype) in (torch.float32, torch.float64)
        exact = whole and torch.get_float32_matmul_precision() == "highest"
        return _TOLERANCE if exact else _TOLERANCE_HALF

    def _expected(self, prompt: Prompt) -> Tensor:
        """Return the logits of the model's own forward after a prompt."""
        tokens = torch.tensor([list(prompt)], device=self._model.device)
        model: Any = self._model
        return model(input_ids=tokens, logits_to_keep=1).logits[0, -1].float()

    def _log_once(self, reason: str) -> None:
        if reason not in self._logged:
            self._logged.add(reason)
            _log.info("%s runs through its own forward: %s", type(self._model).__name__, reason)


def _difference(decoder: LlamaDecoder, prompt: Prompt, expected_V: Tensor) -> float:
    """Return how far the logits of a decoder are from those expected, in their deviations."""
    if len(prompt) == 1:
        found_BV = decoder.admit([prompt], 1)
    else:
        decoder.admit([prompt[:-1]], 2)
        last = torch.tensor(prompt[-1:], device=expected_V.device)
        found_BV = decoder.step(last.expand(2))
    return float((found_BV[-1].float() - expected_V).abs().max() / expected_V.std())
