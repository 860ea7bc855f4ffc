"""A training state from rank 0 to all ranks, one tensor after the other.

As one object it would be pickled, sent and unpickled whole: of 8 billion weights' moments (64 GB)
every process would hold three copies for a moment, also where it keeps an eighth.

    rank 0   {"step": 3, "moment": Tensor}  ->  {"step": 3, "moment": Place}  one small object
    all      each tensor in turn            ->  keep(path, tensor)            what stays of it
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from atlas.parallel.distributed import Ranks

Keep = Callable[[tuple[Any, ...], Tensor], Any]
"""Given the keys that lead to a tensor, and the whole tensor in CPU memory; returns what stays."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor of a state belongs."""

    shape: tuple[int, ...]
    dtype: torch.dtype


def from_main(ranks: Ranks, state: Any, keep: Keep, what: str) -> Any:
    """Return rank 0's state, of each tensor what ``keep`` makes of it.

    Args:
        state: Looked at on rank 0 only: dictionaries, lists, tensors, and values of their own.
        what: Named in errors.

    Raises:
        RankError: Another rank didn't come, or is gone.
    """
    tensors: list[Tensor] = []
    layout = ranks.broadcast(_layout(state, tensors) if ranks.is_main else None, what)
    return _filled(ranks, layout, iter(tensors), keep, what, ())


def _layout(value: Any, tensors: list[Tensor]) -> Any:
    """Return a value with places for its tensors, which are added to the list in order."""
    if isinstance(value, Tensor):
        tensors.append(value)
        return Place(tuple(value.shape), value.dtype)
    if isinstance(value, dict):
        return {key: _layout(one, tensors) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_layout(one, tensors) for one in value]
    return value


def _filled(
    ranks: Ranks,
    value: Any,
    own: Iterator[Tensor],
    keep: Keep,
    what: str,
    path: tuple[Any, ...],
) -> Any:
    if isinstance(value, Place):
        whole = (
            next(own).cpu().contiguous()
            if ranks.is_main
            else torch.empty(value.shape, dtype=value.dtype)
        )
        ranks.broadcast_tensor(whole, what)
        return keep(path, whole)
    if isinstance(value, dict):
        return {
            key: _filled(ranks, one, own, keep, what, (*path, key)) for key, one in value.items()
        }
    if isinstance(value, list):
        return [
            _filled(ranks, one, own, keep, what, (*path, place)) for place, one in enumerate(value)
        ]
    return value
