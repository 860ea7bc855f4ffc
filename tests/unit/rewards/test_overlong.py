"""The soft penalty for length, by hand."""

from __future__ import annotations

import pytest

from atlas.rewards.overlong import Overlong, overlong_part, with_overlong
from atlas.types import Score


@pytest.mark.parametrize(
    ("num_tokens", "expected"),
    # A limit of 20, of which the last 5 are the buffer: 15 is the longest that is free.
    [(1, 0.0), (15, 0.0), (16, -0.2), (18, -0.6), (20, -1.0), (25, -1.0)],
)
def test_the_part(num_tokens: int, expected: float) -> None:
    assert overlong_part(num_tokens, limit=20, buffer=5) == pytest.approx(expected)


def test_it_is_weighted_in_the_value_and_not_in_the_part() -> None:
    score = Score(value=1.5, parts={"uplift": 1.0}, weighted={"uplift": 1.5}, reason="why")
    found = with_overlong(score, 18, Overlong(limit=20, buffer=5, weight=0.5))
    assert found.value == pytest.approx(1.5 - 0.5 * 0.6)
    assert found.parts == {"uplift": 1.0, "overlong": pytest.approx(-0.6)}
    assert found.weighted == {"uplift": 1.5, "overlong": pytest.approx(-0.3)}
    assert found.reason == "why"


def test_an_abstention_stays_one_and_nothing_changes_without_a_penalty() -> None:
    overlong = Overlong(limit=20, buffer=5)
    assert with_overlong(Score(value=None), 20, overlong).value is None
    score = Score(value=1.0, parts={"uplift": 1.0})
    assert with_overlong(score, 20, None) is score
