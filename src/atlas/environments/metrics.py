"""Scored episodes to means: what the metrics of every environment are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from atlas.types import Episode


def mean(values: Iterable[float]) -> float:
    """Return the mean; not a number where there is no value."""
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else float("nan")


def part(episodes: Sequence[Episode], name: str) -> list[float]:
    """Return a part of every score that has it."""
    return [one.score.parts[name] for one in episodes if name in one.score.parts]
