"""What a policy has no room for is refused."""

from __future__ import annotations

import pytest
from tests.unit.environments.scripted import Scripted
from tests.unit.tiny_models import tiny_renderer

from atlas.environments.actor import Actor
from atlas.errors import AtlasError
from atlas.rollouts.generator import Sampling


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (89, r"student_max_new_tokens=12 .*student takes up to 89 .*for 100; at most .*=11 fits"),
        (100, r"student_max_new_tokens=12 .*; take a model with a longer window"),
    ],
)
def test_a_limit_that_does_not_fit_is_refused_with_the_way_out(prompt: int, message: str) -> None:
    actor = Actor(
        generator=Scripted(str),
        renderer=tiny_renderer(),
        sampling=Sampling(max_new_tokens=12),
        window=100,
    )
    with pytest.raises(AtlasError, match=message):
        actor.require_room("student", prompt, key="student_max_new_tokens")
    actor.require_room("student", 88)
