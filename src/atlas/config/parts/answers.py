"""How a student marks its final answer: the values of ``answer_format``, and their check.

The reading itself is `atlas.rewards.verifiers.answers`; this is what can be told before anything
is loaded.
"""

from __future__ import annotations

from typing import Final

import regex

from atlas.errors import AtlasError

AUTO: Final = "auto"
ANSWER_FORMATS: Final = (AUTO, "answer", "boxed", "hash", "last_line", "last_number")


def check_answer_format(value: object, *, where: str = "answer_format") -> str:
    """Return a value of ``answer_format`` that can be read by.

    Raises:
        AtlasError: There is no such format, its pattern is no regular expression, or its path is
            empty.
    """
    kind, _, rest = value.partition(":") if isinstance(value, str) else ("", "", "")
    if kind == "regex" and rest:
        try:
            regex.compile(rest)
        except (regex.error, RecursionError, OverflowError) as error:
            raise AtlasError(f"{where}: '{rest}' is no regular expression: {error}") from error
    elif value not in ANSWER_FORMATS and not (kind == "json" and rest.strip("$. ")):
        shown = ascii(value)[:80]
        raise AtlasError(
            f"{where} must be one of {', '.join(ANSWER_FORMATS)}, json:PATH or regex:PATTERN, but "
            f"it is {shown}"
        )
    return str(value)
