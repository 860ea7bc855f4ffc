"""Which process this is, of how many: from the environment that torchrun makes. Imports no torch.

::

    2 nodes x 2 processes     node 0: rank 0, 1     node 1: rank 2, 3     size 4, local_size 2
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from atlas.errors import AtlasError


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """A process among those that train together.

    Raises:
        AtlasError: The numbers contradict each other.
    """

    rank: int = 0
    """Of all processes, from 0."""
    size: int = 1
    local_rank: int = 0
    """Among the processes of this machine; also the number of its GPU."""
    local_size: int = 1

    def __post_init__(self) -> None:
        """Refuse what can't be."""
        if not (0 <= self.local_rank <= self.rank < self.size and self.local_size <= self.size):
            raise AtlasError(
                f"RANK={self.rank}, WORLD_SIZE={self.size}, LOCAL_RANK={self.local_rank} and "
                f"LOCAL_WORLD_SIZE={self.local_size} contradict each other; start with torchrun "
                "or scripts/launch.sh"
            )

    @property
    def is_main(self) -> bool:
        """This is the process that writes files and shows progress."""
        return self.rank == 0


def world(environment: Mapping[str, str] = os.environ) -> World:
    """Return this process's place; alone where no launcher says otherwise.

    Raises:
        AtlasError: The environment is that of a launcher, but makes no sense.
    """
    if "WORLD_SIZE" not in environment:
        return World()
    try:
        rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
        local_rank = int(environment.get("LOCAL_RANK", rank))
        local_size = int(environment.get("LOCAL_WORLD_SIZE", size))
    except (KeyError, ValueError) as error:
        raise AtlasError(
            f"WORLD_SIZE is set, but RANK and LOCAL_RANK don't go with it ({error}); start with "
            "torchrun or scripts/launch.sh, or unset WORLD_SIZE"
        ) from error
    return World(rank=rank, size=size, local_rank=local_rank, local_size=local_size)
