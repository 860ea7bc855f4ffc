"""Log-probabilities on a shared prompt: equal to plain forwards of single rows, to the gradient."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from tests.unit.tiny_models import KINDS, PAD, adapted_model, rows_of, tiny_model
from torch import Tensor
from transformers import PreTrainedModel

from atlas.models.passes.forward import TokenLogprobs, logprobs
from atlas.models.passes.padded import join
from atlas.models.passes.shared_prefix import shares_prefixes
from atlas.types import Tokens

PROMPTS = [[5, 6, 7], [8], [9, 10, 11, 12, 13, 14]]
# Two for each prompt: of different lengths, of one token, and one that holds the padding's id.
COMPLETIONS = [[20, 21, 1], [22], [23, 24, PAD, 26, 1], [27, 28], [29, 30, 31, 32, 33, 1], [35]]
ROWS = rows_of(PROMPTS, COMPLETIONS)
FORWARDS = [logprobs, partial(logprobs, share=False)]
Gradients = dict[str, Tensor]


def one_by_one(model: PreTrainedModel, temperature: float) -> tuple[list[Tensor], list[Tensor]]:
    """Log-probabilities and entropies of each row, alone in its batch and without padding."""
    found, entropies = [], []
    for row, completion in enumerate(COMPLETIONS):
        prompt = PROMPTS[row // 2]
        logits_BKV = model(input_ids=torch.tensor([prompt + completion])).logits
        all_TV = (logits_BKV[0, len(prompt) - 1 : -1] / temperature).log_softmax(-1)
        found.append(all_TV[torch.arange(len(completion)), torch.tensor(completion)])
        entropies.append(-(all_TV.exp() * all_TV).sum(-1).detach())
    return found, entropies


def gradients(model: PreTrainedModel, found: list[Tensor]) -> Gradients:
    """Gradients of a sum in which every token has a weight of its own."""
    weights = torch.randn(100, generator=torch.Generator().manual_seed(0)).double()
    model.zero_grad()
    torch.dot(torch.cat(found).double(), weights[: sum(map(len, found))]).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def per_row(found: TokenLogprobs) -> list[Tensor]:
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
    expected, entropies = one_by_one(model, temperature=0.7)
    wanted = gradients(model, expected)

    found = forward(model, ROWS, temperature=0.7, with_entropy=True)

    torch.testing.assert_close(torch.cat(per_row(found)), torch.cat(expected), rtol=0, atol=1e-10)
    assert found.entropy_BT is not None
    torch.testing.assert_close(
        found.entropy_BT[found.mask_BT], torch.cat(entropies), rtol=0, atol=1e-10
    )
    assert (found.logprobs_BT[~found.mask_BT] == 0).all()
    assert (found.entropy_BT[~found.mask_BT] == 0).all()
    got = gradients(model, per_row(found))
    assert got.keys() == wanted.keys() == dict(model.named_parameters()).keys()
    for name, gradient in wanted.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(got[name], gradient, rtol=0, atol=tolerance * scale, msg=name)


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_gets_the_gradients_of_single_rows_and_nothing_else_any(
    kind: str, checkpointing: bool, forward: Callable[..., TokenLogprobs]
) -> None:
    model = adapted_model(kind, torch.float64)
    expected, _ = one_by_one(model, temperature=1.0)
    wanted = gradients(model, expected)
    assert wanted.keys() == {n for n, _ in model.named_parameters() if ".lora_" in n}
    assert all(gradient.abs().max() > 0 for gradient in wanted.values())
    if checkpointing:
        model.activation_checkpointing_enable()
    found = forward(model, ROWS)
    torch.testing.assert_close(torch.cat(per_row(found)), torch.cat(expected), rtol=0, atol=1e-9)
    got = gradients(model, per_row(found))
    assert got.keys() == wanted.keys()
    for name, gradient in wanted.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(got[name], gradient, rtol=0, atol=2e-6 * scale, msg=name)
    assert shares_prefixes(model)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_single_rows_in_float32(kind: str, attention: str) -> None:
    model = tiny_model(kind, attn_implementation=attention)
    expected, _ = one_by_one(model, temperature=1.0)
    wanted = gradients(model, expected)
    found = logprobs(model, ROWS)
    torch.testing.assert_close(torch.cat(per_row(found)), torch.cat(expected), rtol=0, atol=2e-5)
    got = gradients(model, per_row(found))
    for name, gradient in wanted.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(got[name], gradient, rtol=0, atol=2e-5 * scale, msg=name)
    assert model.config._attn_implementation == attention


@pytest.mark.parametrize("kind", KINDS)
def test_every_family_shares_its_prompts(kind: str) -> None:
    assert shares_prefixes(tiny_model(kind))


def test_groups_of_different_sizes() -> None:
    model = tiny_model(dtype=torch.float64)
    expected, _ = one_by_one(model, temperature=1.0)
    # The first prompt keeps both members, the others one each.
    kept = [0, 1, 2, 5]
    for forward in FORWARDS:
        logprobs_BT = forward(model, [ROWS[row] for row in kept]).logprobs_BT
        for row, place in enumerate(kept):
            length = len(COMPLETIONS[place])
            torch.testing.assert_close(logprobs_BT[row, :length], expected[place])


def test_one_completion_per_prompt_each_of_one_token() -> None:
    model = tiny_model(dtype=torch.float64)
    found = logprobs(model, rows_of([[5, 6], [7]], [[8], [1]]))
    for row, (prompt, token) in enumerate([([5, 6], 8), ([7], 1)]):
        logits_V = model(input_ids=torch.tensor([prompt])).logits[0, -1]
        assert found.logprobs_BT[row].tolist() == pytest.approx(
            [logits_V.log_softmax(0)[token].item()]
        )
    assert found.logprobs_BT.shape == (2, 1)
    assert found.entropy_BT is None


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma3"])
def test_activation_checkpointing_gives_the_same_gradients(
    kind: str, forward: Callable[..., TokenLogprobs], training: bool
) -> None:
    model = tiny_model(kind, dtype=torch.float64)
    wanted = gradients(model, per_row(logprobs(model, ROWS)))
    model.activation_checkpointing_enable()
    model.train(training)
    layers = [layer for layer in model.modules() if hasattr(layer, "_gradient_checkpointing_func")]
    runs = 0

    def count(*_: object) -> None:
        nonlocal runs
        runs += 1

    blocks: Any = [layer for layer in layers if hasattr(layer, "mlp")]
    for block in blocks:
        block.mlp.register_forward_pre_hook(count)
    found = forward(model, ROWS)
    assert runs == len(blocks) == 2
    got = gradients(model, per_row(found))
    assert runs == 4  # every layer was computed again
    for name, gradient in wanted.items():
        torch.testing.assert_close(got[name], gradient, rtol=1e-5, atol=1e-5, msg=name)
    assert model.training == training


def test_a_head_with_a_bias() -> None:
    model: Any = tiny_model(dtype=torch.float64, tie_word_embeddings=False)
    model.lm_head.bias = torch.nn.Parameter(torch.linspace(-2, 2, 40, dtype=torch.float64))
    expected, _ = one_by_one(model, temperature=1.0)
    found = logprobs(model, ROWS)
    torch.testing.assert_close(torch.cat(per_row(found)), torch.cat(expected))


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_only_read_within_a_row_is_there_and_not_learned(
    kind: str, forward: Callable[..., TokenLogprobs]
) -> None:
    """Siblings of several turns: prompt, turn, reply, turn; one ends with a reply.

    5 6 7 | #20 #21 22 23 #24 #1        5 6 7 | #25 26 27
    """
    model = tiny_model(kind, torch.float64)
    ids = [(5, 6, 7, 20, 21, 22, 23, 24, 1), (5, 6, 7, 25, 26, 27)]
    learned = [((3, 5), (7, 9)), ((3, 4),)]
    rows = [Tokens(ids=i, trained=t, prefix=3) for i, t in zip(ids, learned, strict=True)]
    expected = []
    for row in rows:
        all_NV = model(input_ids=torch.tensor([row.ids])).logits[0].log_softmax(-1)
        places = [place for stretch in row.trained for place in range(*stretch)]
        expected.append(torch.stack([all_NV[place - 1, row.ids[place]] for place in places]))
    wanted = gradients(model, expected)
    found = forward(model, rows)
    assert found.mask_BT.int().tolist() == [[1, 1, 0, 0, 1, 1], [1, 0, 0, 0, 0, 0]]
    got_M = found.logprobs_BT[found.mask_BT]
    torch.testing.assert_close(got_M, torch.cat(expected), rtol=0, atol=1e-10)
    assert not found.logprobs_BT[~found.mask_BT].any()
    got = gradients(model, [got_M])
    for name, gradient in wanted.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(got[name], gradient, rtol=0, atol=1e-6 * scale, msg=name)


def test_rows_with_and_without_siblings_and_joined_ones_go_together() -> None:
    model = tiny_model(dtype=torch.float64)
    expected, _ = one_by_one(model, temperature=1.0)
    joined = join([Tokens(ids=row.ids, trained=row.trained) for row in ROWS[2:4]])
    found = logprobs(model, [ROWS[0], joined, ROWS[5]])
    wanted = torch.cat([expected[0], expected[2], expected[3], expected[5]])
    torch.testing.assert_close(found.logprobs_BT[found.mask_BT], wanted)
