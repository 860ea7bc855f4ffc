"""What the student and the teacher are asked, as text files, and how the blanks are filled.

Input: a kind of prompt and the values of its placeholders. Output: chat messages.

- ``baseline.txt``: the student alone. Placeholder: ``{task}``.
- ``approach.txt``: the probe, how the student would go about it. ``{task}``.
- ``teaching.txt``: the teacher. ``{task}``, ``{approach}``.
- ``attempt.txt``: the student with a teaching. ``{task}``, ``{teaching}``.
- ``next_step.txt``: the teacher again, in a recorded session of several steps. ``{output}`` of the
  student so far, ``{step}`` to come.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

PromptKind = Literal["baseline", "approach", "teaching", "attempt", "next_step"]
Message = dict[str, str]

PLACEHOLDERS: Mapping[PromptKind, frozenset[str]] = {
    "baseline": frozenset({"task"}),
    "approach": frozenset({"task"}),
    "teaching": frozenset({"task", "approach"}),
    "attempt": frozenset({"task", "teaching"}),
    "next_step": frozenset({"output", "step"}),
}

_BLANK = re.compile(r"\{([a-z_]+)\}")


def render(kind: PromptKind, **values: str) -> list[Message]:
    """Return the messages of one prompt.

    All blanks are filled in one pass, so that braces inside a task or a teaching stay as they are.

    Raises:
        KeyError: a value is missing.
    """
    missing = PLACEHOLDERS[kind] - values.keys()
    if missing:
        raise KeyError(f"prompt '{kind}' lacks {', '.join(sorted(missing))}")
    text = _BLANK.sub(lambda blank: values[blank[1]], template(kind))
    return [{"role": "user", "content": text}]


@cache
def template(kind: PromptKind) -> str:
    """Return the text file of one kind, without the newline at its end."""
    return (Path(__file__).parent / f"{kind}.txt").read_text(encoding="utf-8").rstrip("\n")
