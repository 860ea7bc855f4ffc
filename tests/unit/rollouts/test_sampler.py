"""How a token is drawn: worked numbers, and a test of the frequencies."""

from __future__ import annotations

import math

import pytest
import torch

from atlas.rollouts.generator import Sampling
from atlas.rollouts.sampler import draw, nucleus

PROBS = [0.1, 0.4, 0.05, 0.3, 0.15]


def sampling(temperature: float, top_p: float = 1.0) -> Sampling:
    return Sampling(max_new_tokens=1, temperature=temperature, top_p=top_p)


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [
        (1.0, {0, 1, 2, 3, 4}),
        (0.99, {0, 1, 2, 3, 4}),
        (0.94, {0, 1, 3, 4}),
        (0.8, {1, 3, 4}),  # 0.4 + 0.3 hold only 0.7; the token that crosses is kept
        (0.6, {1, 3}),
        (0.3, {1}),
        (1e-9, {1}),  # never empty
    ],
)
def test_nucleus_by_hand(top_p: float, kept: set[int]) -> None:
    found_BV = nucleus(torch.tensor([PROBS]), top_p)
    expected = [p if i in kept else 0.0 for i, p in enumerate(PROBS)]
    assert found_BV[0].tolist() == pytest.approx(expected)


def test_nucleus_stops_where_the_share_is_reached_exactly_and_treats_rows_apart() -> None:
    probs_BV = torch.tensor([[0.25, 0.5, 0.25], [0.125, 0.125, 0.75]])
    assert nucleus(probs_BV, 0.5).tolist() == [[0.0, 0.5, 0.0], [0.0, 0.0, 0.75]]


def test_greedy_takes_the_likeliest_and_reports_it_at_temperature_one() -> None:
    logits_BV = torch.tensor([PROBS, PROBS[::-1]]).log() + 3.0
    tokens_B, logprobs_B = draw(logits_BV, sampling(0.0), torch.Generator())
    assert tokens_B.tolist() == [1, 3]
    assert logprobs_B.tolist() == pytest.approx([math.log(0.4)] * 2)


def test_logprobs_have_the_temperature_and_the_whole_tail() -> None:
    """Squares of 1/2, 1/4, 1/4 are 1/4, 1/16, 1/16: at temperature 1/2 the first has 2/3."""
    logits_BV = torch.tensor([[0.5, 0.25, 0.25]]).log()
    tokens_B, logprobs_B = draw(logits_BV, sampling(0.5, top_p=0.1), torch.Generator())
    assert tokens_B.tolist() == [0]
    assert logprobs_B.tolist() == pytest.approx([math.log(2 / 3)])


def test_logprobs_of_half_precision_are_computed_in_float32() -> None:
    logits_BV = torch.zeros(1, 1000, dtype=torch.bfloat16)
    _, logprobs_B = draw(logits_BV, sampling(0.0), torch.Generator())
    assert logprobs_B.dtype == torch.float32
    assert logprobs_B.item() == pytest.approx(-math.log(1000), rel=1e-6)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (2.0, 0.8)])
def test_tokens_follow_the_distribution(temperature: float, top_p: float) -> None:
    """Chi-square over 20,000 draws; 18.47 is the 99.9 % quantile at 4 degrees of freedom."""
    weights = [p ** (1 / temperature) for p in PROBS]
    probs = [weight / sum(weights) for weight in weights]
    order = sorted(range(5), key=lambda i: -probs[i])
    kept, held = [], 0.0
    for i in order:
        if held < top_p:
            kept.append(i)
            held += probs[i]
    num_draws = 20_000
    logits_BV = torch.tensor([PROBS]).log().expand(num_draws, -1)
    random = torch.Generator().manual_seed(0)
    tokens_B, logprobs_B = draw(logits_BV, sampling(temperature, top_p), random)
    counts = torch.bincount(tokens_B, minlength=5).tolist()
    assert {i for i in range(5) if counts[i]} == set(kept)
    expected = {i: num_draws * probs[i] / held for i in kept}
    assert sum((counts[i] - n) ** 2 / n for i, n in expected.items()) < 18.47
    wanted_B = torch.tensor(probs).log()[tokens_B]
    torch.testing.assert_close(logprobs_B, wanted_B, rtol=0, atol=1e-5)
