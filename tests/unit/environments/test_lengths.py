"""What is said about lengths before training, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from atlas.config.grpo import GRPOConfig
from atlas.environments.lengths import LengthProbe, check_lengths
from atlas.errors import AtlasError


def config(**values: Any) -> GRPOConfig:
    return GRPOConfig(model_name_or_path="m", student_model="s", **values)


def probe(lengths: list[int | None], limit: int = 10) -> LengthProbe:
    return LengthProbe(
        who="teachings",
        key="max_new_tokens",
        limit=limit,
        tried=2 * limit,
        lengths=tuple(lengths),
    )


def test_a_limit_that_keeps_nine_of_ten_is_proposed() -> None:
    # Ten lengths: two are cut at 10, and the ninth shortest is 13.
    found = probe([1, 2, 3, 4, 5, 6, 7, 10, 13, 17])
    assert (found.cut_share, found.proposal) == (0.2, 13)
    assert found.line == (
        "2 of 10 sampled teachings are cut at max_new_tokens=10; nine of ten end within 13 tokens"
    )
    # Of eleven, ten must be whole: nine would be less than nine of ten.
    assert probe([*range(1, 11), 19]).proposal == 10
    assert probe([*range(1, 10), 19, None]).proposal == 19


def test_where_no_limit_that_was_tried_is_enough() -> None:
    found = probe([1, 2, None, None])
    assert found.cut_share == 0.5
    assert "nine of ten end within more than 20 tokens" in found.line
    check_lengths(config(), [found])  # one half is still allowed
    with pytest.raises(
        AtlasError, match="set max_new_tokens to more than 20, or max_clipped_share"
    ):
        check_lengths(config(max_clipped_share=0.4), [found])


def test_too_many_cut_are_refused_with_the_way_out() -> None:
    found = probe([1, 11, 12, 12])
    with pytest.raises(
        AtlasError, match=r"3 of 4 .* set max_new_tokens=12, or max_clipped_share=0.75"
    ):
        check_lengths(config(), [probe([1]), found])
    check_lengths(config(max_clipped_share=0.75), [found])
