"""The answer is the reference's number, within a tolerance, in any unit of the same dimension.

Settings in ``Task.metadata``: ``tolerance``, relative (1e-6 where it isn't given);
``absolute_tolerance`` (0); ``need_unit``, refuse an answer without the reference's unit.

- A reference with a unit: the answer may use another unit of the same dimension, and may leave the
  unit out. "60 mph" is "60 miles per hour", "96.56 km/h" (to a tolerance) and "60".
- A reference without a unit: a unit or noun behind the answer isn't looked at; "50 %" is 50 and
  0.5.
- An answer of two different numbers ("5 or 6") is wrong, whichever is right; "2 h 30 min" is one.
"""

from __future__ import annotations

import math
import re
from itertools import pairwise

from atlas.rewards.verifiers.quantity import Quantity, read_quantities
from atlas.rewards.verifiers.units import Unit, find_unit
from atlas.rewards.verifiers.verdict import (
    Verdict,
    cannot_tell,
    read_answer,
    right_or_wrong,
    unread,
)
from atlas.types import Task

_NAME = re.compile(r"^\s*[A-Za-z]\w*\s*(?:=|≈)\s*")
_EQUALS = re.compile(r"\s[=≈]\s")


def numeric_verdict(task: Task, text: str) -> Verdict:
    """Compare the number that an answer consists of with the reference."""
    relative = task.metadata.get("tolerance", 1e-6)
    absolute = task.metadata.get("absolute_tolerance", 0.0)
    if not _is_limit(relative) or not _is_limit(absolute):
        return cannot_tell("the task's tolerance isn't a number of at least 0")
    reference = _one(read_quantities(task.answer))
    if reference is None:
        return cannot_tell(f"the task's reference '{task.answer[:80]}' isn't one number")
    answer = read_answer(text)
    if answer is None:
        return unread()
    # "2 * 30 = 60" ends in its result.
    found = _one(read_quantities(_NAME.sub("", _EQUALS.split(answer)[-1])))
    if found is None:
        return unread("the answer isn't one number")
    if task.metadata.get("need_unit") and reference.unit and not found.unit:
        return right_or_wrong(False, "the unit is missing")
    goal = _base(reference.value, reference.unit)
    values = _readings(found, reference.unit)
    # Tolerances are in the reference's unit, and relative to a difference where zero is arbitrary.
    scale = reference.unit.factor if reference.unit else 1.0
    margin = max(abs(relative * reference.value) * scale, absolute * scale)
    return right_or_wrong(
        any(math.isclose(value, goal, rel_tol=1e-12, abs_tol=margin) for value in values),
        "another number" if values else "another kind of unit",
    )


def _one(quantities: list[Quantity]) -> Quantity | None:
    """Return the one quantity that a text states; ``2 h 30 min`` is 150 min."""
    if not quantities:
        return None
    first = quantities[0]
    if len(quantities) == 1:
        return first
    units = [quantity.unit for quantity in quantities]
    known = [unit for unit in units if unit is not None and not unit.offset]
    if len(known) == len(units) and len({unit.dimension for unit in known}) == 1:
        falling = all(one.factor > other.factor for one, other in pairwise(known))
        if falling and first.unit:
            total = sum(q.value * u.factor for q, u in zip(quantities, known, strict=True))
            return Quantity(value=total / first.unit.factor, unit=first.unit, noun=first.noun)
    same = {_base(quantity.value, quantity.unit) for quantity in quantities}
    return first if len(same) == 1 else None


def _readings(found: Quantity, unit: Unit | None) -> list[float]:
    """Return what an answer may mean, in base units; nothing where the dimensions differ."""
    if unit is None:
        percent = found.unit == find_unit("%")
        return [found.value, found.value / 100] if percent else [found.value]
    if found.unit is None:
        share = [found.value] if unit == find_unit("%") else []
        return [_base(found.value, unit), *share]
    return [_base(found.value, found.unit)] if found.unit.dimension == unit.dimension else []


def _base(value: float, unit: Unit | None) -> float:
    return value if unit is None else value * unit.factor + unit.offset


def _is_limit(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
