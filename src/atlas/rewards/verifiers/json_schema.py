"""The answer is JSON that a schema accepts, and equals the reference where there is one.

Settings in ``Task.metadata``: ``schema``, a JSON Schema. References in it are resolved inside it
only: nothing is fetched. A reference answer that isn't empty must be equal as JSON. ``NaN`` and a
name given twice are refused, since JSON has no such things and readers differ on them.
"""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import referencing.exceptions
from jsonschema.validators import validator_for

from atlas.rewards.verifiers.verdict import Verdict, cannot_tell, read_block, right_or_wrong, unread
from atlas.types import Task


def json_verdict(task: Task, text: str) -> Verdict:
    """Check the JSON that a text ends with."""
    block = read_block(text, "json")
    if block is None:
        return unread()
    try:
        value = _strict(block.strip().strip("`"))
    except (ValueError, RecursionError) as error:
        return unread(f"the answer isn't JSON: {error}")
    schema = task.metadata.get("schema", True)
    try:
        validator = validator_for(schema)
        validator.check_schema(schema)
        fault = next(iter(validator(schema).iter_errors(value)), None)
    except (
        jsonschema.SchemaError,
        referencing.exceptions.Unresolvable,
        RecursionError,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return cannot_tell(f"the task's schema can't be used: {reason}")
    if fault is not None:
        return right_or_wrong(False, f"{fault.json_path}: {fault.message[:200]}")
    if not task.answer.strip():
        return right_or_wrong(True)
    try:
        reference = _strict(task.answer)
    except ValueError as error:
        return cannot_tell(f"the task's reference isn't JSON: {error}")
    return right_or_wrong(_equal(value, reference), "it isn't the reference")


def _strict(text: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            raise ValueError("a name is given twice")
        return dict(pairs)

    def refuse(word: str) -> Any:
        raise ValueError(f"{word} isn't JSON")

    return json.loads(text, object_pairs_hook=once, parse_constant=refuse)


def _equal(one: Any, other: Any) -> bool:
    """Tell whether two JSON values are equal: 1 is 1.0, but isn't true."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return one == other
