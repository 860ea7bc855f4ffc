"""What tokens to learn from may look like."""

from __future__ import annotations

from typing import Any

import pytest

from atlas.types import Tokens


def test_a_completion_after_its_prompt() -> None:
    tokens = Tokens.of((5, 6, 7), (20, 1), logprobs=(-0.5, -0.1), advantage=0.9, source="7")
    assert tokens == Tokens(
        ids=(5, 6, 7, 20, 1),
        trained=((3, 5),),
        logprobs=(0.0, 0.0, 0.0, -0.5, -0.1),
        prefix=3,
        advantage=0.9,
        source="7",
    )
    assert (tokens.num_trained, tokens.num_own, tokens.advantages) == (2, 2, (0.9,) * 5)


def test_nothing_predicts_the_first_token() -> None:
    assert Tokens.of((), (5, 6, 7)).trained == ((1, 3),)
    assert Tokens.of((), (5,)).trained == ()
    assert Tokens.of((5, 6), ()).trained == ()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"trained": ((0, 2),)}, r"trained \(\(0, 2\),\) is not in order within 1\.\.5"),
        ({"trained": ((2, 6),)}, "within 1"),
        ({"trained": ((3, 4), (2, 3))}, "not in order"),
        ({"trained": ((1, 3), (2, 4))}, "not in order"),
        ({"trained": ((2, 2),)}, "not in order"),
        ({"trained": ((1, 3),), "prefix": 2}, r"within 2\.\.5"),
        ({"trained": (), "prefix": 6}, "a prefix of 6 tokens, of 5 in all"),
        ({"trained": (), "logprobs": (-1.0,)}, "1 values for 5 tokens"),
        ({"trained": (), "advantage": (1.0, 2.0)}, "2 values for 5 tokens"),
    ],
)
def test_what_can_not_be_learned_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tokens(ids=(5, 6, 7, 8, 9), **wrong)
