"""What a verifying teacher wrote about an attempt: does it let the attempt stand, and what helps?

Input: its text. Output: a `Reading`. Asked for is a line ``Verdict: certified`` or
``Verdict: revise``, the guidance after it; read are also the words that models put in their place,
Markdown around them, and a JSON object with ``verdict`` (or ``certified``) and ``guidance``. What
says neither, or both, is unreadable: such an attempt is tried again, with all that was written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atlas.json_file import json_value

_DECORATION = r"[\s*_#>`\"'-]*"
_LINE = re.compile(
    rf"^{_DECORATION}verdict{_DECORATION}[:=]{_DECORATION}(?P<said>.*)$", re.I | re.M
)
_LABEL = re.compile(rf"^{_DECORATION}guidance{_DECORATION}:{_DECORATION}", re.I)
_STANDS = ("certified", "certify", "correct", "approve", "accept", "pass", "valid", "right")
_FAILS = ("revise", "revision", "retry", "reject", "incorrect", "wrong", "fail", "invalid")
_FAILS += ("uncertified", "try again", "not ")
_WORDS = re.compile(r"[^a-z ]+")
_FENCE = re.compile(r"^\s*```(?:json)?\s*$", re.I | re.M)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What could be read."""

    certified: bool
    readable: bool
    guidance: str
    """Without the verdict."""


def read_review(text: str) -> Reading:
    """Return what a review says.

    Example:
        >>> read_review("Verdict: revise\\nMultiply before you add.")
        Reading(certified=False, readable=True, guidance='Multiply before you add.')
        >>> read_review("**Verdict:** certified.").certified
        True
    """
    found = _object_in(text)
    if found is not None:
        guidance = found.get("guidance")
        said = found.get("certified", found.get("verdict"))
        certified = said if isinstance(said, bool) else _stands(str(said))
        guidance = guidance.strip() if isinstance(guidance, str) else ""
    else:
        verdicts = {_stands(line["said"]) for line in _LINE.finditer(text)}
        certified = verdicts.pop() if len(verdicts) == 1 else None
        guidance = _LABEL.sub("", _LINE.sub("", text).strip(), count=1).strip()
    if certified is None:
        return Reading(certified=False, readable=False, guidance=text.strip())
    return Reading(certified=certified, readable=True, guidance=guidance)


def _stands(said: str) -> bool | None:
    """Return what the words after "Verdict:" mean; None for none of them, or for two."""
    words = _WORDS.sub(" ", said.lower()).strip()
    fails = words.startswith(_FAILS)
    if not fails and not words.startswith(_STANDS):
        return None
    rest = words.split(" ", 1)[1] if " " in words else ""
    others = _STANDS if fails else _FAILS
    # "certified | revise" repeats the question; what follows a full stop is guidance.
    repeated = any(re.search(rf"^(or )?{other}", rest.strip()) for other in others)
    return None if repeated and not words.startswith("not ") else not fails


def _object_in(text: str) -> Mapping[str, Any] | None:
    """Return the JSON object that a text is or begins, if it holds a verdict."""
    bare = _FENCE.sub("", text).strip()
    if not bare.startswith("{"):
        return None
    try:
        found = json_value(bare[: bare.rfind("}") + 1])
    except ValueError:
        return None
    return found if found.keys() & {"certified", "verdict"} else None
