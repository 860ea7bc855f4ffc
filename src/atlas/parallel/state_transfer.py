"""A training state to all ranks, each of which keeps its share.

Where every rank sees the checkpoint it maps the file, and reads of it what it keeps. Otherwise rank
0's goes to all, one tensor after the other: as one object it would be pickled, sent and unpickled
whole, and of 8 billion weights' moments (64 GB) every process would hold three copies for a moment.

    rank 0   {"step": 3, "moment": Tensor}  ->  {"step": 3, "moment": Place}  one small object
    all      each tensor in turn            ->  keep(path, tensor)            what stays of it
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from atlas.parallel.distributed import ALONE, Ranks

Keep = Callable[[tuple[Any, ...], Tensor], Any]
"""Given the keys that lead to a tensor, and the whole tensor in CPU memory, perhaps of a file that
is mapped; returns what stays: a copy."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor of a state belongs."""

    shape: tuple[int, ...]
    dtype: torch.dtype


def on_all(ranks: Ranks, state: Any, keep: Keep, what: str) -> Any:
    """Return a state, of each tensor what ``keep`` makes of it.

    Args:
        state: On every rank, or on rank 0 only and empty elsewhere: dictionaries, lists, tensors,
            and values of their own.
        what: Named in errors.

    Raises:
        RankError: Another rank didn't come, or is gone.
    """
    tensors: list[Tensor] = []
    if all(ranks.gather(bool(state), what)):
        layout = _layout(state, tensors)
        return _filled(ALONE, layout, iter(tensors), keep, what, ())
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
        whole = next(own).cpu() if ranks.is_main else torch.empty(value.shape, dtype=value.dtype)
        ranks.broadcast_tensor(whole.contiguous(), what)
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
