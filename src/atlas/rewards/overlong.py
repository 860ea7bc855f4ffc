"""A soft penalty for length: the last tokens before the limit cost more and more.

    part = 0                                     up to limit - buffer tokens
    part = (limit - buffer - length) / buffer    then, down to -1 at the limit

Source: Yu et al. 2025 (DAPO, arXiv 2503.14476), equation 13. Without it a completion that is cut
one token early earns nothing and one that just fits earns all, which is noise to the learner.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from atlas.types import Score


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlong:
    """Where the penalty begins, where it is whole, and how much it counts."""

    limit: int
    """Longest completion, in tokens."""
    buffer: int
    """Tokens before the limit over which it rises; at least 1."""
    weight: float = 1.0


def overlong_part(num_tokens: int, *, limit: int, buffer: int) -> float:
    """Return the penalty for a length, from 0 down to -1.

    Example: a limit of 10 of which the last 4 are the buffer:
        >>> [overlong_part(n, limit=10, buffer=4) for n in (6, 7, 8, 10, 12)]
        [0.0, -0.25, -0.5, -1.0, -1.0]
    """
    return max(-1.0, min(0.0, (limit - buffer - num_tokens) / buffer))


def with_overlong(score: Score, num_tokens: int, overlong: Overlong | None) -> Score:
    """Return the score with the penalty as a part of its own; an abstention stays one."""
    if overlong is None:
        return score
    part = overlong_part(num_tokens, limit=overlong.limit, buffer=overlong.buffer)
    value = None if score.value is None else score.value + overlong.weight * part
    added = {} if value is None else {"overlong": overlong.weight * part}
    return replace(
        score,
        value=value,
        parts={**score.parts, "overlong": part},
        weighted={**score.weighted, **added},
    )
