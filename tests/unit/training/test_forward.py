"""Log-probabilities on a shared prompt: equal to plain forwards of single rows, to the gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.unit.tiny_models import KINDS, PAD, tiny_model
from torch import Tensor
from transformers import AutoModelForCausalLM, Gemma2Config, PreTrainedModel

from atlas.errors import AtlasError
from atlas.training.forward import (
    TokenLogprobs,
    completion_logprobs,
    group_batch,
    plain_completion_logprobs,
)

PROMPTS = [[5, 6, 7], [8], [9, 10, 11, 12, 13, 14]]
# Two for each prompt: of different lengths, of one token, and one that holds the padding's id.
COMPLETIONS = [[20, 21, 1], [22], [23, 24, PAD, 26, 1], [27, 28], [29, 30, 31, 32, 33, 1], [35]]
FORWARDS = [completion_logprobs, plain_completion_logprobs]
Gradients = dict[str, Tensor]


def one_by_one(model: PreTrainedModel, temperature: float) -> tuple[list[Tensor], list[Tensor]]:
    """Log-probabilities and entropies of each row, alone in its batch and without padding."""
    logprobs, entropies = [], []
    for row, completion in enumerate(COMPLETIONS):
        prompt = PROMPTS[row // 2]
        logits_BKV = model(input_ids=torch.tensor([prompt + completion])).logits
        all_TV = (logits_BKV[0, len(prompt) - 1 : -1] / temperature).log_softmax(-1)
        logprobs.append(all_TV[torch.arange(len(completion)), torch.tensor(completion)])
        entropies.append(-(all_TV.exp() * all_TV).sum(-1).detach())
    return logprobs, entropies


def gradients(model: PreTrainedModel, logprobs: list[Tensor]) -> Gradients:
    """Gradients of a sum in which every token has a weight of its own."""
    weights = torch.randn(100, generator=torch.Generator().manual_seed(0)).double()
    model.zero_grad()
    torch.dot(torch.cat(logprobs).double(), weights[: sum(map(len, logprobs))]).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def rows_of(found: TokenLogprobs) -> list[Tensor]:
    return [found.logprobs_BT[row, : len(c)] for row, c in enumerate(COMPLETIONS)]


# Norms and rotations compute in float32 within a float64 model, but for GPT-2's.
@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize(
    ("kind", "tolerance"), [(k, 1e-11 if k == "gpt2" else 1e-6) for k in KINDS]
)
def test_equals_single_rows_to_every_gradient(
    kind: str, tolerance: float, forward: Callable[..., TokenLogprobs]
) -> None:
    model = tiny_model(kind, torch.float64)
    batch = group_batch(PROMPTS, COMPLETIONS, PAD)
    expected, entropies = one_by_one(model, temperature=0.7)
    wanted = gradients(model, expected)

    found = forward(model, batch, temperature=0.7, with_entropy=True)

    torch.testing.assert_close(torch.cat(rows_of(found)), torch.cat(expected), rtol=0, atol=1e-10)
    assert found.entropy_BT is not None
    torch.testing.assert_close(
        found.entropy_BT[batch.mask_BT], torch.cat(entropies), rtol=0, atol=1e-10
    )
    assert (found.logprobs_BT[~batch.mask_BT] == 0).all()
    assert (found.entropy_BT[~batch.mask_BT] == 0).all()
    got = gradients(model, rows_of(found))
    assert got.keys() == wanted.keys() == dict(model.named_parameters()).keys()
    for name, gradient in wanted.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(got[name], gradient, rtol=0, atol=tolerance * scale, msg=name)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_single_rows_in_float32(kind: str, attention: str) -> None:
    model = tiny_model(kind, attn_implementation=attention)
    expected, _ = one_by_one(model, temperature=1.0)
    found = completion_logprobs(model, group_batch(PROMPTS, COMPLETIONS, PAD))
    torch.testing.assert_close(torch.cat(rows_of(found)), torch.cat(expected), rtol=0, atol=2e-5)


def test_one_completion_per_prompt_each_of_one_token() -> None:
    model = tiny_model(dtype=torch.float64)
    found = completion_logprobs(model, group_batch([[5, 6], [7]], [[8], [1]], PAD))
    for row, (prompt, token) in enumerate([([5, 6], 8), ([7], 1)]):
        logits_V = model(input_ids=torch.tensor([prompt])).logits[0, -1]
        assert found.logprobs_BT[row].tolist() == pytest.approx(
            [logits_V.log_softmax(0)[token].item()]
        )
    assert found.logprobs_BT.shape == (2, 1)
    assert found.entropy_BT is None


def test_under_activation_checkpointing_the_prompt_is_still_read() -> None:
    """In training mode, transformers silently drops the cache that holds the prompt."""
    model = tiny_model(dtype=torch.float64)
    batch = group_batch(PROMPTS, COMPLETIONS, PAD)
    wanted = gradients(model, rows_of(completion_logprobs(model, batch)))
    model.activation_checkpointing_enable()
    model.train()
    found = completion_logprobs(model, batch)
    expected, _ = one_by_one(model, temperature=1.0)
    torch.testing.assert_close(torch.cat(rows_of(found)), torch.cat(expected))
    got = gradients(model, rows_of(found))
    for name, gradient in wanted.items():
        torch.testing.assert_close(got[name], gradient, rtol=1e-5, atol=1e-5, msg=name)


def test_a_model_that_changes_its_logits_is_refused() -> None:
    config = Gemma2Config(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
    )
    model = AutoModelForCausalLM.from_config(config)
    batch = group_batch([[5]], [[6]], PAD)
    with pytest.raises(AtlasError, match=r"'gemma2' changes its logits \(final_logit_softcapping"):
        completion_logprobs(model, batch)
    model.config.final_logit_softcapping = None
    assert torch.isfinite(completion_logprobs(model, batch).logprobs_BT).all()


def test_a_head_with_a_bias() -> None:
    model: Any = tiny_model(dtype=torch.float64, tie_word_embeddings=False)
    model.lm_head.bias = torch.nn.Parameter(torch.linspace(-2, 2, 40, dtype=torch.float64))
    expected, _ = one_by_one(model, temperature=1.0)
    found = completion_logprobs(model, group_batch(PROMPTS, COMPLETIONS, PAD))
    torch.testing.assert_close(torch.cat(rows_of(found)), torch.cat(expected))


def test_layout_of_a_batch() -> None:
    """Prompts on the right, completions on the left of their blocks, ``.`` is padding:

    . 5 6 | 7 1
    . 5 6 | 8 .
    2 3 4 | 9 .
    2 3 4 | 1 .
    """
    batch = group_batch([[5, 6], [2, 3, 4]], [[7, 1], [8], [9], [1]], pad_id=0)
    assert batch.group_size == 2
    assert batch.prompt_ids_PL.tolist() == [[0, 5, 6], [2, 3, 4]]
    assert batch.prompt_mask_PL.tolist() == [[0, 1, 1], [1, 1, 1]]
    assert batch.completion_ids_BT.tolist() == [[7, 1], [8, 0], [9, 0], [1, 0]]
    assert batch.mask_BT.tolist() == [[True, True], [True, False], [True, False], [True, False]]


@pytest.mark.parametrize(
    ("completions", "message"),
    [([[1], [1], [1]], "3 completions for 2 prompts"), ([[1], []], "a completion is empty")],
)
def test_a_batch_that_makes_no_sense_is_refused(completions: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        group_batch([[5], [6]], completions, PAD)
