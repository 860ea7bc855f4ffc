from __future__ import annotations

import pytest

from atlas.parallel.engine.schedule import rate_factor


@pytest.mark.parametrize(
    ("kind", "factors"),
    [
        # Ten steps, two of warm-up: a third, two thirds, and then eight steps down to 0.
        ("linear", [1 / 3, 2 / 3, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 0, 0]),
        ("constant", [1 / 3, 2 / 3, *[1] * 10]),
    ],
)
def test_by_hand(kind, factors) -> None:
    found = [rate_factor(step, total_steps=10, kind=kind, warmup_ratio=0.2) for step in range(12)]
    assert found == pytest.approx(factors)


def test_cosine_by_hand() -> None:
    """(1 + cos(pi x)) / 2 at x = 0, 1/4, 1/3, 1/2, 2/3, 1: 1, 0.8536, 3/4, 1/2, 1/4, 0."""
    found = [
        rate_factor(step, total_steps=12, kind="cosine", warmup_ratio=0)
        for step in (0, 3, 4, 6, 8, 12, 13)
    ]
    assert found == pytest.approx([1, (2 + 2**0.5) / 4, 0.75, 0.5, 0.25, 0, 0])


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("total_steps", [1, 2, 7])
@pytest.mark.parametrize("warmup_ratio", [0.0, 0.1, 0.5, 0.99])
def test_no_step_of_a_run_is_wasted(kind, total_steps: int, warmup_ratio: float) -> None:
    factors = [
        rate_factor(step, total_steps=total_steps, kind=kind, warmup_ratio=warmup_ratio)
        for step in range(total_steps)
    ]
    assert all(0 < factor <= 1 for factor in factors)
