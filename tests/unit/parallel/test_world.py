from __future__ import annotations

import pytest

from atlas.errors import AtlasError
from atlas.parallel.world import World, world


def test_a_process_without_a_launcher_is_alone() -> None:
    assert world({}) == World(rank=0, size=1, local_rank=0, local_size=1)
    assert world({}).is_main


def test_torchrun_says_who_is_who() -> None:
    second_node = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    assert world(second_node) == World(rank=3, size=4, local_rank=1, local_size=2)
    assert not world(second_node).is_main


@pytest.mark.parametrize(
    "environment",
    [
        {"WORLD_SIZE": "2"},
        {"WORLD_SIZE": "two", "RANK": "0"},
        {"WORLD_SIZE": "2", "RANK": "2", "LOCAL_RANK": "0"},
        {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "1"},
    ],
)
def test_numbers_that_make_no_sense_are_refused(environment: dict[str, str]) -> None:
    with pytest.raises(AtlasError, match=r"torchrun or scripts/launch\.sh"):
        world(environment)
