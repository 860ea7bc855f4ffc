"""The answer is the reference's number, within a tolerance, in any unit of the same dimension.

Settings in ``Task.metadata``: ``tolerance``, relative (1e-6 where it isn't given);
``absolute_tolerance`` (0); ``need_unit``, refuse an answer without the reference's unit.

- A reference with a unit: the answer may use another unit of the same dimension, and may leave the
  unit out. "60 mph" is "60 miles per hour", "96.56 km/h" (to a tolerance) and "60".
- A reference without a unit: a unit or noun behind the answer isn't looked at; "50 %" is 50 and
  0.5.
- An answer that isn't surely one number is wrong: "5 or 6", "at least 5", "half of 10".
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from atlas.rewards.verifiers.numeric.quantity import Quantity, read_quantity
from atlas.rewards.verifiers.numeric.units import find_unit
from atlas.rewards.verifiers.verdict import Verdict, cannot_tell, right_or_wrong, unread
from atlas.types import Task

_ROUNDING = Fraction(1, 10**12)
"""Factors of units are floating-point numbers."""
_SCALES = ("K", "M", "G", "T", "B", "k")
"""Letters that stand for a thousand or more as often as for a unit."""


def numeric_verdict(task: Task, answer: str) -> Verdict:
    """Compare the number that an answer consists of with the reference."""
    relative = task.metadata.get("tolerance", 1e-6)
    absolute = task.metadata.get("absolute_tolerance", 0.0)
    if not _is_limit(relative) or not _is_limit(absolute):
        return cannot_tell("the task's tolerance isn't a number of at least 0")
    reference = read_quantity(task.answer)
    if reference is None:
        return cannot_tell(f"the task's reference '{task.answer[:80]}' isn't one number")
    found = read_quantity(answer)
    if found is None:
        return unread("the answer isn't one number")
    if task.metadata.get("need_unit") and reference.unit and not found.unit:
        return right_or_wrong(False, "the unit is missing")
    values = readings(found, reference)
    goal = reference.in_base()
    # Tolerances are in the reference's unit, and relative to a difference where zero is arbitrary.
    scale = Fraction(reference.unit.factor) if reference.unit else Fraction(1)
    margin = max(abs(Fraction(relative) * reference.value), Fraction(absolute)) * scale
    near = [abs(one - goal) <= max(margin, _ROUNDING * abs(goal)) for one in values]
    return right_or_wrong(any(near), "another number" if values else "another kind of unit")


def readings(found: Quantity, reference: Quantity) -> list[Fraction]:
    """Return what an answer may mean, in base units; nothing where the dimensions differ."""
    unit = reference.unit
    percent = find_unit("%")
    if unit is None:
        if found.noun in _SCALES and found.noun != reference.noun:
            return []
        share = [found.value / 100] if found.unit == percent else []
        return [found.value, *share]
    if found.unit is None:
        share = [found.value] if unit == percent else []
        return [found.in_base(unit), *share]
    return [found.in_base()] if found.unit.dimension == unit.dimension else []


def _is_limit(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # An integer may be too large to be asked whether it is finite.
    return number and value >= 0 and (isinstance(value, int) or math.isfinite(value))
