from __future__ import annotations

import copy

import pytest
import torch

from atlas.parallel.engine.stochastic_adamw import StochasticAdamW, stochastic_round


def test_rounding_is_right_on_average() -> None:
    """1 + 1/512 lies a quarter of the way from 1 to the next bfloat16, 1 + 1/128."""
    exact = torch.full((40_000,), 1 + 1 / 512)
    rounded = stochastic_round(exact, torch.Generator().manual_seed(0)).float()
    assert set(rounded.tolist()) == {1.0, 1 + 1 / 128}
    share_up = (rounded > 1).float().mean().item()
    assert abs(share_up - 0.25) < 4 * (0.25 * 0.75 / 40_000) ** 0.5


def test_what_bfloat16_holds_stays() -> None:
    exact = torch.tensor([0.0, -0.0, 1.5, -3.0, torch.inf, -torch.inf, torch.nan])
    rounded = stochastic_round(exact, torch.Generator().manual_seed(0))
    assert torch.equal(rounded.float().nan_to_num(7.0), exact.nan_to_num(7.0))
    assert rounded.isnan().tolist() == exact.isnan().tolist()


def test_the_first_step_is_adamw_s() -> None:
    """Where the exact result is a bfloat16, nothing is rounded: 1 - 0.5 * sign(g)."""
    weight = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    weight.grad = torch.tensor([2.0, -2.0, 4.0, -8.0], dtype=torch.bfloat16)
    StochasticAdamW([weight], lr=0.5, eps=0.0, weight_decay=0.0).step()
    assert weight.tolist() == [0.5, 1.5, 0.5, 1.5]


def test_on_average_it_goes_where_float32_goes() -> None:
    torch.manual_seed(0)
    start = torch.randn(5000)
    target = torch.randn(5000)
    exact = torch.nn.Parameter(start.clone())
    rounded = torch.nn.Parameter(start.bfloat16())
    reference = torch.optim.AdamW([exact], lr=1e-3, weight_decay=0.1)
    ours = StochasticAdamW([rounded], lr=1e-3, weight_decay=0.1)
    for _ in range(200):
        for weight, optimizer in ((exact, reference), (rounded, ours)):
            weight.grad = (weight.detach().float() - target).to(weight.dtype)
            optimizer.step()
    moved = exact.detach() - start
    difference = rounded.detach().float() - exact.detach()
    assert moved.abs().mean() > 0.1
    assert difference.mean().abs() < 0.01 * moved.abs().mean()
    # Rounded to the nearest, steps of a thousandth of weights near 1 would all be lost.
    assert difference.abs().mean() < 0.1 * moved.abs().mean()


def test_a_state_that_was_saved_goes_on_bit_by_bit() -> None:
    torch.manual_seed(1)
    grads = torch.randn(6, 33).bfloat16()
    straight = torch.nn.Parameter(torch.randn(33).bfloat16())
    stopped = torch.nn.Parameter(straight.detach().clone())
    first, second = StochasticAdamW([straight], lr=1e-2), StochasticAdamW([stopped], lr=1e-2)
    for step, grad in enumerate(grads):
        if step == 3:
            state = copy.deepcopy(second.state_dict())
            second = StochasticAdamW([stopped], lr=1e-2)
            second.load_state_dict(state)
        straight.grad, stopped.grad = grad.clone(), grad.clone()
        first.step()
        second.step()
    assert torch.equal(straight, stopped)


def test_other_precisions_are_refused() -> None:
    with pytest.raises(ValueError, match="must be bfloat16"):
        StochasticAdamW([torch.nn.Parameter(torch.ones(2))], lr=0.1)


@pytest.mark.parametrize("seed", [20_261_128, 2**62])
def test_any_seed_is_taken(seed: int) -> None:
    """PyTorch's generators take 63 bits; a date times a step is more."""
    ends = []
    for _ in range(2):
        weight = torch.nn.Parameter(torch.full((64,), 1.0, dtype=torch.bfloat16))
        weight.grad = torch.linspace(-1, 1, 64).bfloat16()
        StochasticAdamW([weight], lr=1e-3, seed=seed).step()
        ends.append(weight.detach().clone())
    assert torch.equal(*ends)
