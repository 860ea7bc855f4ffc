"""How a token is drawn: worked numbers and edges. Its law is in test_sampling_law.py."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from atlas.rollouts.generator import Sampling
from atlas.rollouts.local.chance import row_keys
from atlas.rollouts.local.sampler import draw, inverted, likeliest, penalised

PROBS = [0.1, 0.4, 0.05, 0.3, 0.15]


def sampling(temperature: float, **changes: float) -> Sampling:
    return Sampling(max_new_tokens=1, temperature=temperature, **changes)  # pyright: ignore[reportArgumentType]


def drawn(
    logits_BV: Tensor, how: Sampling, seen_BV: Tensor | None = None, *, seed: int = 0
) -> tuple[Tensor, Tensor]:
    num = len(logits_BV)
    keys_B = row_keys(seed, num, 1, torch.device("cpu")).flatten()
    return draw(logits_BV, how, keys_B, torch.zeros(num, dtype=torch.int64), seen_BV)


def kept_by(how: Sampling, probs: list[float] = PROBS, num_draws: int = 2000) -> set[int]:
    """The tokens that are ever drawn."""
    logits_BV = torch.tensor([probs]).log().expand(num_draws, -1)
    return set(drawn(logits_BV, how)[0].tolist())


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
@pytest.mark.parametrize("top_k", [0, 5])
def test_the_nucleus_by_hand(top_p: float, kept: set[int], top_k: int) -> None:
    assert kept_by(sampling(1.0, top_p=top_p, top_k=top_k)) == kept


def test_the_nucleus_stops_where_the_share_is_reached_exactly() -> None:
    assert kept_by(sampling(1.0, top_p=0.5), [0.25, 0.5, 0.25]) == {1}
    assert kept_by(sampling(1.0, top_p=0.5), [0.125, 0.125, 0.75]) == {2}


def test_equals_of_the_last_token_of_the_nucleus_belong_to_it() -> None:
    assert kept_by(sampling(1.0, top_p=0.6), [0.125, 0.5, 0.125, 0.125, 0.125]) == {0, 1, 2, 3, 4}


def test_top_k_and_min_p_by_hand() -> None:
    assert kept_by(sampling(1.0, top_k=1)) == {1}
    assert kept_by(sampling(1.0, top_k=3)) == {1, 3, 4}
    assert kept_by(sampling(1.0, top_k=9)) == {0, 1, 2, 3, 4}
    assert kept_by(sampling(1.0, min_p=0.3)) == {1, 3, 4}
    assert kept_by(sampling(1.0, min_p=0.3, top_k=2)) == {1, 3}
    assert kept_by(sampling(1.0, min_p=0.3, top_p=0.6)) == {1, 3}
    assert kept_by(sampling(1.0, min_p=1.0)) == {1}


def test_the_nucleus_is_a_share_of_what_top_k_leaves() -> None:
    """Of 0.4 and 0.3, 0.55 holds 0.385: one is enough. Of everything 0.55 would take two."""
    assert kept_by(sampling(1.0, top_p=0.55)) == {1, 3}
    assert kept_by(sampling(1.0, top_p=0.55, top_k=2)) == {1}


def test_cuts_come_after_the_temperature() -> None:
    """Squares of 0.4 and 0.3 are 0.16 and 0.09, more than half apart."""
    assert kept_by(sampling(1.0, min_p=0.6)) == {1, 3}
    assert kept_by(sampling(0.5, min_p=0.6)) == {1}


def test_greedy_takes_the_likeliest_and_reports_it_at_temperature_one() -> None:
    logits_BV = torch.tensor([PROBS, PROBS[::-1]]).log() + 3.0
    tokens_B, logprobs_B = drawn(logits_BV, sampling(0.0))
    assert tokens_B.tolist() == [1, 3]
    assert logprobs_B.tolist() == pytest.approx([math.log(0.4)] * 2)


@pytest.mark.parametrize("width", [5, 63, 64, 65, 128, 200])
def test_the_likeliest_in_blocks_is_the_first_of_the_largest(width: int) -> None:
    torch.manual_seed(width)
    logits_BV = torch.randint(-9, 0, (300, width)).float()  # many equals
    assert torch.equal(likeliest(logits_BV), logits_BV.argmax(dim=-1))


@pytest.mark.parametrize("how", [{"top_p": 0.1}, {"top_k": 1}, {"min_p": 0.9}])
def test_logprobs_have_the_temperature_and_the_whole_tail(how: dict[str, float]) -> None:
    """Squares of 1/2, 1/4, 1/4 are 1/4, 1/16, 1/16: at temperature 1/2 the first has 2/3."""
    logits_BV = torch.tensor([[0.5, 0.25, 0.25]]).log()
    tokens_B, logprobs_B = drawn(logits_BV, sampling(0.5, **how))
    assert tokens_B.tolist() == [0]
    assert logprobs_B.tolist() == pytest.approx([math.log(2 / 3)])


def test_a_penalty_changes_what_is_drawn_but_not_what_is_reported() -> None:
    logits_BV = torch.tensor([[2.0, 1.5, -1.0]])
    seen_BV = torch.tensor([[True, False, True]])
    assert penalised(logits_BV, seen_BV, 2.0).tolist() == [[1.0, 1.5, -2.0]]
    raw = logits_BV.log_softmax(-1)[0]
    for temperature, expected in ((0.0, raw), (1e-3, (logits_BV / 1e-3).log_softmax(-1)[0])):
        how = sampling(temperature, repetition_penalty=2.0)
        tokens_B, logprobs_B = drawn(logits_BV, how, seen_BV)
        assert tokens_B.tolist() == [1]
        assert logprobs_B.tolist() == pytest.approx([expected[1].item()])


def test_logprobs_of_half_precision_are_computed_in_float32() -> None:
    logits_BV = torch.zeros(1, 1000, dtype=torch.bfloat16)
    _, logprobs_B = drawn(logits_BV, sampling(0.0))
    assert logprobs_B.dtype == torch.float32
    assert logprobs_B.item() == pytest.approx(-math.log(1000), rel=1e-6)


@pytest.mark.parametrize("width", [3, 64, 70, 130])
def test_inverting_finds_every_token_at_the_edges_of_its_share(width: int) -> None:
    """Equal weights on every third token: uniform numbers just inside both edges of each share."""
    held = list(range(1, width, 3))
    weights_V = torch.zeros(width)
    weights_V[held] = 2.0
    edges = [
        ((i + inside) / len(held), token)
        for i, token in enumerate(held)
        for inside in (1e-3, 0.999)
    ]
    uniform_B = torch.tensor([edge for edge, _ in edges])
    found_B = inverted(weights_V.expand(len(edges), -1), uniform_B)
    assert found_B.tolist() == [token for _, token in edges]


def test_inverting_never_finds_a_token_without_weight() -> None:
    weights_BV = torch.zeros(2, 200)
    weights_BV[0, 70] = 1e-30
    weights_BV[1, [5, 199]] = torch.tensor([1.0, 1e-9])
    for uniform in (0.0, 1 - 2.0**-24):
        found_B = inverted(weights_BV, torch.full((2,), uniform))
        assert found_B[0] == 70
        assert found_B[1] in (5, 199)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_new_tokens", 0),
        ("temperature", -0.1),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_k", -1),
        ("min_p", 1.5),
        ("repetition_penalty", 0.0),
        ("stop", "text"),
        ("stop", ("",)),
    ],
)
def test_values_that_mean_nothing_are_refused_by_name(name: str, value: object) -> None:
    changes = {"max_new_tokens": 1} | {name: value}
    with pytest.raises(ValueError, match=name):
        Sampling(**changes)  # pyright: ignore[reportArgumentType]
