"""How alike a student's several attempts at one task are: claims where it is asked several times.

Input: lessons of one arm. Output: intervals by claim, in points. With ``p`` = the share of a task's
attempts that are right, the deviation within the task is ``sqrt(p (1 - p))``: 0 where all agree, 50
where half of them are right. The interval is over tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from atlas.evaluation.stats import Interval, paired_bootstrap
from atlas.types import Lesson

SPREAD_LABELS: Mapping[str, str] = {
    "spread_alone": "Spread of a task's attempts, student alone",
    "spread_taught": "Spread of a task's attempts, taught",
}
"""Every claim by name, in the order of the table."""


def spreads(lessons: Sequence[Lesson]) -> dict[str, tuple[Interval | None, int]]:
    """Return the interval of each claim, and on how many tasks it was measured.

    Args:
        lessons: Of students that are asked once, nothing is returned.
    """
    by_claim = {
        "spread_alone": [lesson.alone for lesson in lessons],
        "spread_taught": [lesson.attempt for lesson in lessons],
    }
    several = {
        name: [one.spread for one in attempts if len(one.told) > 1]
        for name, attempts in by_claim.items()
    }
    return {
        name: (paired_bootstrap(values).scaled(100), len(values))
        for name, values in several.items()
        if values
    }
