"""Rows to micro-batches: as much as fits, neighbours in length together; and rows packed full.

Input: groups of siblings and a budget of tokens. Output: the groups dealt out, every row once. What
has no siblings is a group of its own.

What counts is what a forward pass computes. Where a prefix is shared, that is each prefix once and
the rest without padding; otherwise rows x longest row.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

from atlas.models.passes.padded import join
from atlas.types import Tokens

Group = list[Tokens]
"""Siblings: rows that begin with the same prefix."""


def micro_batches(
    groups: Sequence[Group], max_tokens: int, *, shared: bool = True, whole: bool = False
) -> list[list[Group]]:
    """Deal groups out.

    Args:
        groups: Of at least one row each.
        max_tokens: Budget of one micro-batch. A group that is above it by itself is divided, and
            its prefix computed in each part; one row goes through whatever it takes.
        shared: Each prefix is computed once for its group.
        whole: Leave groups above the budget whole: their loss compares their rows.
    """
    pieces = [
        piece
        for group in groups
        for piece in ([group] if whole else _divided(group, max_tokens, shared))
    ]
    batches: list[list[Group]] = []
    for piece in sorted(pieces, key=_longest):
        if not batches or num_tokens([*batches[-1], piece], shared=shared) > max_tokens:
            batches.append([])
        batches[-1].append(piece)
    return batches


def dealt(
    groups: Sequence[Group], max_tokens: int, num_ranks: int, *, shared: bool = True
) -> list[list[list[Group]]]:
    """Deal groups out to ranks, and each rank's to micro-batches.

    Every rank gets about as much to compute. A group that is more than a rank's fair share is
    divided. All ranks come to the same result by themselves.

    Args:
        groups: Of the whole step.
        max_tokens: Budget of one micro-batch.
        num_ranks: Who shares the step.
        shared: Each prefix is computed once for its group.

    Returns:
        The micro-batches of each rank; some may have fewer than others, or none.
    """
    if num_ranks == 1:
        return [micro_batches(groups, max_tokens, shared=shared)]
    costs = [num_tokens([group], shared=shared) for group in groups]
    fair = -(-sum(costs) // num_ranks)
    pieces = [
        piece
        for group in groups
        # What is divided computes its prefix once more.
        for piece in _divided(group, min(max_tokens, fair + group[0].prefix), shared)
    ]
    loads, shares = [0] * num_ranks, [list[Group]() for _ in range(num_ranks)]
    for piece in sorted(pieces, key=lambda p: -num_tokens([p], shared=shared)):
        least = loads.index(min(loads))
        loads[least] += num_tokens([piece], shared=shared)
        shares[least].append(piece)
    return [micro_batches(share, max_tokens, shared=shared) for share in shares]


def num_tokens(groups: Sequence[Group], *, shared: bool) -> int:
    """Return the tokens that a forward pass over the groups computes."""
    if shared:
        return sum(group[0].prefix + sum(row.num_own for row in group) for group in groups)
    return sum(map(len, groups)) * max(len(row.ids) for group in groups for row in group)


def pack(rows: Sequence[Tokens], length: int) -> list[Tokens]:
    """Join rows to ones of at most ``length`` tokens; none is cut, and none sees another.

    Best fit, the longest first: a row goes where it leaves the least room. Equal rows in equal
    order are packed alike. One that is longer than ``length`` stays alone.
    """
    packed: list[list[Tokens]] = []
    room: list[tuple[int, int]] = []
    """What is free in a packed row, and which that is; in order."""
    for row in sorted(rows, key=lambda row: -len(row.ids)):
        place = bisect_left(room, (len(row.ids), -1))
        if place == len(room):
            packed.append([])
            free, number = length, len(packed) - 1
        else:
            free, number = room.pop(place)
        packed[number].append(row)
        insort(room, (free - len(row.ids), number))
    return [join(parts) for parts in packed]


def fullness(rows: Sequence[Tokens], length: int) -> float:
    """Return the share of the rows' room that tokens take."""
    return sum(len(row.ids) for row in rows) / (len(rows) * length)


def _divided(group: Group, max_tokens: int, shared: bool) -> list[Group]:
    """Cut a group into parts within the budget, members of like length together."""
    if num_tokens([group], shared=shared) <= max_tokens:
        return [group]
    parts: list[Group] = []
    for row in sorted(group, key=lambda row: row.num_own):
        if not parts or num_tokens([[*parts[-1], row]], shared=shared) > max_tokens:
            parts.append([])
        parts[-1].append(row)
    return parts


def _longest(group: Group) -> int:
    return max(row.num_own for row in group)
