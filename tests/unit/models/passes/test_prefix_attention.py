"""Attention on shared prompts against one that writes its mask out, forward and backward."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn.attention import flex_attention

from atlas.models.passes.flex_prefix_attention import flex_prefix_attention
from atlas.models.passes.prefix_attention import prefix_attention, prefix_layout

SCALE = 0.5
# Lengths of the prompts, of the completions, and the prompt that each of these belongs to.
SHAPES = {
    "uneven": ([3, 5], [2, 4, 1, 3], [0, 0, 1, 1]),
    "rectangular": ([4, 4], [3, 3], [0, 1]),
    "groups of 1 and 2, one without input": ([2, 6], [0, 4, 2], [0, 1, 1]),
    "prompts alone": ([3], [0, 0], [0, 0]),
}


def seen(shape: str, window: int | None) -> Tensor:
    """Which token of the row sees which, [N, N], written out."""
    prompts, completions, owners = SHAPES[shape]
    # Of each token: its sequence, the prompt that it goes on from, and its position there.
    tokens = [("p", p, i) for p, length in enumerate(prompts) for i in range(length)]
    tokens += [("c", b, i) for b, length in enumerate(completions) for i in range(length)]

    def distance(query: tuple, key: tuple) -> int:
        if query[:2] == key[:2]:
            return query[2] - key[2]
        if query[0] == "c" and key[0] == "p" and owners[query[1]] == key[1]:
            return prompts[key[1]] + query[2] - key[2]
        return -1

    far = [[distance(query, key) for key in tokens] for query in tokens]
    return torch.tensor([[0 <= d < (window or 99) for d in row] for row in far])


def written_out(q: Tensor, k: Tensor, v: Tensor, seen_NN: Tensor) -> Tensor:
    repeats = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)
    scores = torch.einsum("nhd,mhd->hnm", q, k) * SCALE
    return torch.einsum("hnm,mhd->nhd", scores.masked_fill(~seen_NN, -torch.inf).softmax(-1), v)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("path", ["processor", "GPU"])
@pytest.mark.parametrize(("shape", "window"), itertools.product(SHAPES, [None, 3, 5, 100]))
def test_equals_attention_with_its_mask_written_out(
    shape: str, window: int | None, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What runs on a GPU is computed here as torch writes it out, backward too, which it forbids.
    monkeypatch.setattr(flex_attention, "_validate_device", lambda *_: None)
    prompts, completions, owners = SHAPES[shape]
    layout = prefix_layout(*map(torch.tensor, (prompts, completions, owners)))
    random = torch.Generator().manual_seed(0)
    size = sum(prompts) + sum(completions)
    q, k, v, grad = (
        3 * torch.randn(size, heads, 8, dtype=torch.float64, generator=random)
        for heads in (4, 2, 2, 4)
    )
    inputs = [x.requires_grad_() for x in (q, k, v)]
    wanted = written_out(q, k, v, seen(shape, window))
    if path == "processor":
        found = prefix_attention(q, k, v, layout, scale=SCALE, window=window)
    else:
        found = flex_prefix_attention(q, k, v, layout, SCALE, window)
    torch.testing.assert_close(found, wanted)
    expected = torch.autograd.grad(wanted, inputs, grad)
    for got, want in zip(torch.autograd.grad(found, inputs, grad), expected, strict=True):
        torch.testing.assert_close(got, want)


def test_scores_too_large_for_exp_stay_out_of_the_padding() -> None:
    """A padded place borrows another token's query, and must not turn its keys to NaN."""
    layout = prefix_layout(torch.tensor([2, 1]), torch.tensor([3, 1]), torch.tensor([0, 1]))
    q = (200 * torch.ones(7, 1, 8)).requires_grad_()
    k = torch.linspace(-1, 1, 7).view(7, 1, 1).repeat(1, 1, 8).requires_grad_()
    v = torch.ones(7, 1, 8).requires_grad_()
    prefix_attention(q, k, v, layout, scale=1.0).sum().backward()
    for tensor in (q, k, v):
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()
    assert v.grad is not None
    assert v.grad.sum() == pytest.approx(7 * 8)  # every token's weights sum to 1
