"""The patch of vLLM's sampler, on a class built as vLLM's is; the real one is in tests/serving."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from atlas.serve.inside.trainer_logprobs import install, patch, tempered_logprobs

LOGITS = torch.tensor([[1.0, 3.0, 0.5], [0.2, 0.1, -2.0]])


def sampler_class() -> Any:
    class Sampler:
        @staticmethod
        def compute_logprobs(logits: torch.Tensor) -> torch.Tensor:
            return logits.log_softmax(-1)

        def forward(self, logits: torch.Tensor, sampling_metadata: Any) -> torch.Tensor:
            """Raw log-probabilities first; then the logits are changed in place."""
            found = self.compute_logprobs(logits)
            logits.div_(2)
            if sampling_metadata.fails:
                raise RuntimeError("out of memory")
            return found

    return Sampler


def metadata(*temperatures: float, fails: bool = False) -> SimpleNamespace:
    greedy = not any(temperatures)
    temperature_B = None if greedy else torch.tensor(temperatures)
    return SimpleNamespace(all_greedy=greedy, temperature=temperature_B, fails=fails)


def test_each_row_is_divided_by_its_own_temperature_and_greedy_ones_by_none() -> None:
    patched = sampler_class()
    patch(patched)
    found = patched().forward(LOGITS.clone(), metadata(0.5, 0.0))
    torch.testing.assert_close(found[0], (LOGITS[0] / 0.5).log_softmax(-1))
    torch.testing.assert_close(found[1], LOGITS[1].log_softmax(-1))
    torch.testing.assert_close(
        patched().forward(LOGITS.clone(), metadata(0.0, 0.0)), LOGITS.log_softmax(-1)
    )


def test_prompts_and_whatever_comes_after_an_error_have_no_temperature() -> None:
    patched = sampler_class()
    patch(patched)
    patch(patched)  # twice is once
    sampler = patched()
    with pytest.raises(RuntimeError, match="out of memory"):
        sampler.forward(LOGITS.clone(), metadata(0.5, 0.5, fails=True))
    torch.testing.assert_close(sampler.compute_logprobs(LOGITS), LOGITS.log_softmax(-1))


def test_logits_of_half_precision_are_divided_in_full_precision() -> None:
    half = LOGITS.bfloat16()
    found = tempered_logprobs(half, torch.tensor([0.3, 0.7]))
    divisor = torch.tensor([[0.3], [0.7]])
    torch.testing.assert_close(found, (half.float() / divisor).log_softmax(-1))


def test_where_there_is_no_vllm_nothing_is_patched() -> None:
    install()
