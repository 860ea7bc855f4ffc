"""A process that holds values against JSON Schemas: a line of JSON in, a line of JSON out.

Run as a file, by `atlas.rewards.verifiers.json_schema`. It is a process of its own because patterns
in a schema can take for ever, which no thread of Python's can be stopped in::

    {"schema": {"type": "integer"}, "value": "text"}
    {"unusable": "", "fault": "$: 'text' is not of type 'integer'"}
"""

from __future__ import annotations

import json
import logging
import resource
import sys
from typing import Any

from jsonschema.validators import validator_for
from jsonschema_specifications import REGISTRY

_MEMORY = 2 << 30


def check(schema: Any, value: Any) -> dict[str, str]:
    """Return why the schema can't be used, or what it finds wrong with the value."""
    try:
        if not isinstance(schema, dict | bool):
            raise TypeError("it must be an object, or true or false")
        if isinstance(schema, dict) and not isinstance(schema.get("$schema", ""), str):
            raise TypeError("$schema must be text")
        validator: Any = validator_for(schema)
        validator.check_schema(schema)
        # This registry holds the drafts of JSON Schema and fetches nothing.
        fault = next(iter(validator(schema, registry=REGISTRY).iter_errors(value)), None)
    except Exception as error:  # whatever a hostile schema makes the library raise
        said = str(error).splitlines() or [""]
        return {"unusable": (said[0] or type(error).__name__)[:300], "fault": ""}
    return {"unusable": "", "fault": f"{fault.json_path}: {fault.message}"[:300] if fault else ""}


def main() -> None:
    """Serve until the input ends."""
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    for line in sys.stdin:
        request = json.loads(line)
        sys.stdout.write(json.dumps(check(request["schema"], request["value"])) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
