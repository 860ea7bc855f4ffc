"""A second opinion for the canary: another verifier than the one that the reward uses.

Answers that one verifier is fooled by seldom fool another. It may be stricter: of a task with many
right answers it knows one. The canary is read for its changes, so that does no harm.
"""

from __future__ import annotations

import re

from atlas.rewards.verifiers.registry import verifier_name
from atlas.types import REFERENCE, Task

_OTHER = {
    "exact": REFERENCE,
    "numeric": REFERENCE,
    "regex": "regex",
    "python_tests": "python_tests",
}
_OTHER |= {"json_schema": "json_schema", "sql": "sql"}
"""Where nothing else can tell, the same one."""
_NUMBER = re.compile(r"-?[\d,]*\.?\d+")


def independent_verifier(task: Task) -> str:
    """Return the name of another verifier than the task's."""
    own = verifier_name(task)
    if own == REFERENCE:
        return "numeric" if _NUMBER.fullmatch(task.answer.strip()) else "exact"
    return _OTHER.get(own, REFERENCE)
