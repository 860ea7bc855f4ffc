"""Which GPUs servers and training get: never the same ones.

The guide's usage line gives the servers' number first, a sentence in it the training's, and all of
its examples give equal ones. So two equal numbers are taken as they are, and unequal ones only by
name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atlas.errors import AtlasError


@dataclass(frozen=True, kw_only=True, slots=True)
class GPUSplit:
    """Names of GPUs, as ``CUDA_VISIBLE_DEVICES`` has them.

    Example: ``GPUSplit(server=("0", "1"), train=("2", "3"))``
    """

    server: tuple[str, ...]
    train: tuple[str, ...]


def numbers_of(positional: Sequence[int], server: int | None, train: int | None) -> tuple[int, int]:
    """Return the number of GPUs for servers and for training.

    Args:
        positional: The numbers before the configuration: two, or none.
        server: ``--server-gpus``.
        train: ``--train-gpus``.

    Raises:
        AtlasError: It isn't clear which number is which.
    """
    if positional and (server is not None or train is not None):
        raise AtlasError(
            "give the numbers of GPUs once: by --server-gpus and --train-gpus, or both by place"
        )
    if positional:
        first, second = _pair(positional)
        if first != second:
            raise AtlasError(
                f"which of {first} and {second} GPUs are the servers', and which are for "
                f"training? Write --server-gpus {first} --train-gpus {second}, or the other way "
                "round"
            )
        return first, second
    if server is None or train is None:
        raise AtlasError(
            "say how many GPUs the servers and how many the training gets: "
            "--server-gpus 1 --train-gpus 1, or 1 1; 0 0 does it all on the CPU"
        )
    return server, train


def _pair(positional: Sequence[int]) -> tuple[int, int]:
    if len(positional) != 2:
        raise AtlasError("two numbers of GPUs come before the configuration, as in 1 1")
    return positional[0], positional[1]


def split(server: int, train: int, visible: Sequence[str]) -> GPUSplit:
    """Give the first GPUs to the servers and those after them to training.

    Example: ``split(1, 2, ["4", "5", "6"])`` is ``GPUSplit(server=("4",), train=("5", "6"))``.

    Raises:
        AtlasError: There are fewer.
    """
    if server + train > len(visible):
        seen = f"{len(visible)} can be seen" if visible else "none can be seen"
        raise AtlasError(
            f"servers and training need {server} + {train} GPUs, but {seen}; "
            "0 0 does it all on the CPU"
        )
    return GPUSplit(server=tuple(visible[:server]), train=tuple(visible[server : server + train]))


def shares(gpus: Sequence[str], num_servers: int) -> list[tuple[str, ...]]:
    """Divide GPUs among servers: the first ones get one more; a single GPU is shared by all.

    Example: ``shares(["0", "1", "2"], 2)`` is ``[("0", "1"), ("2",)]``.
    """
    if len(gpus) < num_servers:
        return [tuple(gpus)] * num_servers
    each, more = divmod(len(gpus), num_servers)
    found, start = [], 0
    for place in range(num_servers):
        end = start + each + (place < more)
        found.append(tuple(gpus[start:end]))
        start = end
    return found


def tensor_parallel(num_gpus: int, num_heads: int | None) -> int:
    """Return over how many GPUs one model can be split: heads are divided evenly, or not at all.

    Example: ``tensor_parallel(3, 32)`` is 2.
    """
    if not num_heads:
        return max(1, num_gpus)
    return next((n for n in range(num_gpus, 1, -1) if num_heads % n == 0), 1)
