"""vLLM's log-probabilities as the trainer means them: of softmax(logits / temperature).

vLLM reports them either at temperature 1 (``raw_logprobs``) or after ``top_p``, ``top_k``,
``min_p`` and penalties have changed the distribution (``processed_logprobs``). A trainer computes
neither: it divides by the temperature and knows of no cut. So the raw ones are divided here.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import torch

_GREEDY_BELOW = 1e-5
"""vLLM's own threshold: a temperature below it is greedy, whose log-probabilities are at 1."""


def install() -> None:
    """Make every sampler of this process report them. May be called again.

    Has to run before vLLM makes its model runner: where its worker extension is imported.
    """
    if importlib.util.find_spec("vllm") is not None:
        patch(importlib.import_module("vllm.v1.sample.sampler").Sampler)


def patch(sampler: Any) -> None:
    """Patch a class that is built as vLLM's ``Sampler`` is."""
    if hasattr(sampler, "atlas_temperature_B"):
        return
    inner = sampler.forward

    def forward(self: Any, logits: torch.Tensor, sampling_metadata: Any, *rest: Any, **named: Any):
        greedy = sampling_metadata.all_greedy
        self.atlas_temperature_B = None if greedy else sampling_metadata.temperature
        try:
            return inner(self, logits, sampling_metadata, *rest, **named)
        finally:
            self.atlas_temperature_B = None

    def compute_logprobs(self: Any, logits: torch.Tensor) -> torch.Tensor:
        # Outside of `forward` it is asked for those of prompts, which have no temperature.
        return tempered_logprobs(logits, self.atlas_temperature_B)

    sampler.atlas_temperature_B = None
    sampler.forward = forward
    sampler.compute_logprobs = compute_logprobs


def tempered_logprobs(logits_BV: torch.Tensor, temperature_B: torch.Tensor | None) -> torch.Tensor:
    """Return log softmax(logits / temperature), float32 [B, V]; temperature 1 where it is greedy.

    Args:
        logits_BV: raw logits, which are left as they are.
        temperature_B: one a row; None: 1 for all.
    """
    logits_BV = logits_BV.float()
    if temperature_B is not None:
        divisor_B = torch.where(temperature_B < _GREEDY_BELOW, 1.0, temperature_B)
        logits_BV = logits_BV / divisor_B.unsqueeze(-1)
    return logits_BV.log_softmax(dim=-1)
