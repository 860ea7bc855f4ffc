"""The answer is JSON that a schema accepts, and equals the reference where there is one.

Settings in ``Task.metadata``: ``schema``, a JSON Schema. References in it are resolved inside it
only: nothing is fetched. A reference answer that isn't empty must be equal as JSON. ``NaN``,
numbers that no machine holds and a name given twice are refused, since JSON has no such things or
readers differ on them. Schemas are worked in a process of their own (`schema_worker`): a pattern in
one may run for ever.
"""

from __future__ import annotations

import json
import math
from typing import Any

from atlas.rewards.verifiers.line_process import LineProcess
from atlas.rewards.verifiers.verdict import Verdict, cannot_tell, right_or_wrong, unread
from atlas.types import Task

TIME_LIMIT = 2.0
"""Seconds; the schema is to blame for an answer that takes longer, so it is an abstention."""
_worker = LineProcess("schema_worker.py", start_limit=60.0)


def json_verdict(task: Task, answer: str) -> Verdict:
    """Check the JSON that was answered."""
    try:
        value = _strict(answer.strip().strip("`"))
    except (ValueError, RecursionError) as error:
        return unread(f"the answer isn't JSON: {error}")
    try:
        fault = schema_fault(task.metadata.get("schema", True), value)
    except ValueError as error:
        return cannot_tell(f"the task's schema {error}")
    if fault:
        return right_or_wrong(False, fault)
    if not task.answer.strip():
        return right_or_wrong(True)
    try:
        reference = _strict(task.answer)
    except (ValueError, RecursionError) as error:
        return cannot_tell(f"the task's reference isn't JSON: {error}")
    return right_or_wrong(_equal(value, reference), "it isn't the reference")


def schema_fault(schema: Any, value: Any) -> str:
    """Return what a JSON Schema finds wrong with a value; nothing where it accepts it.

    Raises:
        ValueError: The schema can't be used; the words go on after "the schema".
    """
    try:
        found = _worker.ask({"schema": schema, "value": value}, time_limit=TIME_LIMIT)
    except TimeoutError as error:
        raise ValueError(f"took more than {TIME_LIMIT:g} s") from error
    except (ConnectionError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"can't be used: {error}") from error
    if found["unusable"]:
        raise ValueError(f"can't be used: {found['unusable']}")
    return found["fault"]


def _strict(text: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            raise ValueError("a name is given twice")
        return dict(pairs)

    def refuse(word: str) -> Any:
        raise ValueError(f"{word} isn't JSON")

    def finite(word: str) -> float:
        value = float(word)
        return value if math.isfinite(value) else refuse(word[:20])

    return json.loads(text, object_pairs_hook=once, parse_constant=refuse, parse_float=finite)


def _equal(one: Any, other: Any) -> bool:
    """Tell whether two JSON values are equal: 1 is 1.0, but isn't true."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return one == other
