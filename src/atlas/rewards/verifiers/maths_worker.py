"""A process that compares mathematical answers: a line of JSON in, a line of JSON out.

Run as a file, by `atlas.rewards.verifiers.maths`. It is a process of its own because some answers
take sympy for ever or all memory, and because math-verify's time limit is a signal, which only the
main thread of a process can take::

    {"reference": "\\frac{1}{2}", "answer": "0.5"}
    {"reference": true, "answer": true, "right": true}
"""

from __future__ import annotations

import json
import logging
import resource
import sys
from typing import Any

from math_verify import parse, verify

TIME_LIMIT = 4
"""Seconds for each reading and for the comparison."""
_MEMORY = 4 << 30


def compare(reference: str, answer: str) -> dict[str, bool]:
    """Return which of the two could be read, and whether they are equal."""
    gold, found = _read(reference), _read(answer)
    right = bool(gold and found) and verify(
        gold, found, timeout_seconds=TIME_LIMIT, raise_on_error=False
    )
    return {"reference": bool(gold), "answer": bool(found), "right": bool(right)}


def _read(text: str) -> list[Any]:
    """Read a text as LaTeX, else as a plain expression."""
    marked = "$" in text or "\\boxed" in text
    for one in [text] if marked else [f"${text}$", text]:
        found = parse(one, parsing_timeout=TIME_LIMIT, raise_on_error=False)
        # Where nothing is understood, the text itself comes back.
        if any(not isinstance(one, str) for one in found):
            return found
    return []


def main() -> None:
    """Serve until the input ends."""
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    # What a library says belongs to no line of ours.
    out, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        request = json.loads(line)
        out.write(json.dumps(compare(request["reference"], request["answer"])) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
