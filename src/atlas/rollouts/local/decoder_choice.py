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

from atlas.models.passes.proof import disagreement
from atlas.rollouts.generator import Prompt
from atlas.rollouts.local.decoder import Decoder
from atlas.rollouts.local.generic_decoder import GenericDecoder
from atlas.rollouts.local.llama_decoder import LlamaDecoder
from atlas.rollouts.local.llama_weights import computing_dtype, read_weights, unfit

_log = logging.getLogger(__name__)

_CHECKED_TOKENS = 64


class DecoderChoice:
    """Makes decoders for one model.

    Args:
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
                found_V = _logits(LlamaDecoder(weights, longest), prompt, expected_V.device)
                computed = self._dtype or self._model.dtype
                difference = disagreement(_centred(found_V), _centred(expected_V), computed)
                if difference is not None:
                    self._reason = reason = (
                        f"decoding from its weights gave other logits (by {difference:.2g} of "
                        "their deviation)"
                    )
            if reason is None:
                return LlamaDecoder(weights, longest)
        # A check that failed costs what nobody expects; a model of another family does not.
        self._log_once(reason, logging.WARNING if self._reason else logging.INFO)
        return generic

    def _expected(self, prompt: Prompt) -> Tensor:
        """Return the logits of the model's own forward after a prompt."""
        tokens = torch.tensor([list(prompt)], device=self._model.device)
        model: Any = self._model
        return model(input_ids=tokens, logits_to_keep=1).logits[0, -1].float()

    def _log_once(self, reason: str, level: int) -> None:
        if reason not in self._logged:
            self._logged.add(reason)
            name = type(self._model).__name__
            _log.log(level, "%s is sampled through its own forward: %s", name, reason)


def _logits(decoder: LlamaDecoder, prompt: Prompt, device: torch.device) -> Tensor:
    """Return a decoder's logits after a prompt, whose last token it takes in a step of two rows."""
    if len(prompt) == 1:
        return decoder.admit([prompt], 1)[-1]
    decoder.admit([prompt[:-1]], 2)
    return decoder.step(torch.tensor(prompt[-1:], device=device).expand(2))[-1]


def _centred(logits_V: Tensor) -> Tensor:
    """Leave out what all logits have in common: it says nothing."""
    return logits_V.float() - logits_V.float().mean()
