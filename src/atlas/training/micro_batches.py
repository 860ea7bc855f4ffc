"""Groups to micro-batches: as much as fits, neighbours in length together.

Input: groups of samples and a budget of tokens. Output: the groups dealt out, every sample once.

What counts is what a forward pass computes. Where a prompt is shared, that is each prompt once and
the completions without padding; otherwise rows x (longest prompt + longest completion).
"""

from __future__ import annotations

from collections.abc import Sequence

from atlas.types import TrainSample

Group = list[TrainSample]


def micro_batches(
    groups: Sequence[Group], max_tokens: int, *, shared: bool = True
) -> list[list[Group]]:
    """Deal groups out.

    Args:
        groups: Of at least one sample each.
        max_tokens: Budget of one micro-batch. A group that is above it by itself is divided, and
            its prompt computed in each part; one sample goes through whatever it takes.
        shared: Each prompt is computed once for its group.
    """
    pieces = [piece for group in groups for piece in _divided(group, max_tokens, shared)]
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
        shared: Each prompt is computed once for its group.

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
        # What is divided computes its prompt once more.
        for piece in _divided(group, min(max_tokens, fair + len(group[0].prompt_ids)), shared)
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
        return sum(
            len(group[0].prompt_ids) + sum(len(sample.completion_ids) for sample in group)
            for group in groups
        )
    longest_prompt = max(len(group[0].prompt_ids) for group in groups)
    return sum(map(len, groups)) * (longest_prompt + max(map(_longest, groups)))


def _divided(group: Group, max_tokens: int, shared: bool) -> list[Group]:
    """Cut a group into parts within the budget, members of like length together."""
    if num_tokens([group], shared=shared) <= max_tokens:
        return [group]
    parts: list[Group] = []
    for sample in sorted(group, key=lambda sample: len(sample.completion_ids)):
        if not parts or num_tokens([[*parts[-1], sample]], shared=shared) > max_tokens:
            parts.append([])
        parts[-1].append(sample)
    return parts


def _longest(group: Group) -> int:
    return max(len(sample.completion_ids) for sample in group)
