"""Packing: several examples in one row, so that no padding is computed; none sees another.

Input: examples and the length of a row. Output: rows, each an `Example` that knows where further
ones begin in it. Drawn, for a prompt ``a a`` with its answer ``A A`` and one ``b`` with ``B``::

    ids         a a A A b B
    in the loss - - # # - #
    positions   0 1 2 3 0 1

The positions begin again with each example. That is how the model knows them apart: attention does
not look across (training/documents.py), and rotary or learned positions are those of the example
alone. Examples are never cut; each row takes the longest ones that still fit into it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from atlas.data.chat import Example


def pack(examples: Sequence[Example], length: int) -> list[Example]:
    """Return rows of at most ``length`` tokens that hold each example once.

    Best fit, the longest first: an example goes to the fullest row that has room for it. Equal
    examples in equal order give equal rows. One that is longer than ``length`` has a row of its
    own.
    """
    rows: list[list[Example]] = []
    room: list[tuple[int, int]] = []
    """What is free in a row, and the row; in order."""
    for example in sorted(examples, key=lambda example: -len(example.ids)):
        place = bisect_left(room, (len(example.ids), -1))
        if place == len(room):
            rows.append([])
            free, row = length, len(rows) - 1
        else:
            free, row = room.pop(place)
        rows[row].append(example)
        insort(room, (free - len(example.ids), row))
    return [join(row) for row in rows]


def join(examples: Sequence[Example]) -> Example:
    """Return a row of examples that follow one another.

    Example:
        >>> row = join([Example(ids=(5, 6, 7), prompt_length=2), Example(ids=(8, 9),
        ...     prompt_length=1)])
        >>> row.ids, row.starts, row.read, row.num_trained
        ((5, 6, 7, 8, 9), (3,), ((3, 4),), 2)
    """
    ids: list[int] = []
    read: list[tuple[int, int]] = []
    starts: list[int] = []
    for example in examples:
        place = len(ids)
        if place:
            starts.append(place)
            # Whatever its prompt, its first token is predicted by nothing.
            read.append((place, place + max(1, example.prompt_length)))
        read += [(place + start, place + end) for start, end in example.read]
        ids += example.ids
    return Example(
        ids=tuple(ids),
        prompt_length=examples[0].prompt_length,
        read=tuple(read),
        source=",".join(dict.fromkeys(example.source for example in examples)),
        starts=tuple(starts),
    )


def positions(rows: Sequence[Example], device: torch.device | str = "cpu") -> Tensor | None:
    """Return the place of each token in its own example, [B, T]; None where no row is joined.

    Padding goes on counting, as it does without packing: nothing looks at it.
    """
    if not any(row.starts for row in rows):
        return None
    longest = max(len(row.ids) for row in rows)
    places_BT = torch.arange(longest).repeat(len(rows), 1)
    for place_T, row in zip(places_BT, rows, strict=True):
        for start, end in pairwise([*row.starts, longest]):
            place_T[start:end] = torch.arange(end - start)
    return places_BT.to(device)


def fullness(rows: Sequence[Example], length: int) -> float:
    """Return the share of the rows' room that tokens take."""
    return sum(len(row.ids) for row in rows) / (len(rows) * length)
