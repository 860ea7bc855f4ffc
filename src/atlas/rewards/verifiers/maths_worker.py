r"""A process that compares mathematical answers, each in a jailed fork: JSON in, JSON out.

Run as a file, by `atlas.rewards.verifiers.maths`. SymPy takes some answers for ever or all memory,
and evaluates what it parses: what it parses is checked first (`sympy_guard`), and what it does, it
does in the jail (`forks`). An item is a reference and an answer::

    {"items": [["\\frac{1}{2}", "0.5"]], "cpu_seconds": 10.0, "children": 1}
    {"results": [{"value": {"reference": true, "answer": true, "right": true}}]}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import antlr4.LL1Analyzer  # noqa: F401 - the parser's, which it imports when it meets an error
from math_verify import parse, verify

from atlas.rewards.sandbox.forks import Work, serve
from atlas.rewards.sandbox.sympy_guard import guard_sympy, import_sympy


def prepare(_: Mapping[str, Any]) -> Work:
    """Return what compares the two texts of an item."""
    return lambda item: compare(*item)


def compare(reference: str, answer: str) -> dict[str, bool]:
    """Return which of the two could be read, and whether they are equal."""
    gold, found = _read(reference), _read(answer)
    # No time limit of its own, which would be a signal: the jail has one.
    right = bool(gold and found) and verify(gold, found, timeout_seconds=None, raise_on_error=False)
    return {"reference": bool(gold), "answer": bool(found), "right": bool(right)}


def _read(text: str) -> list[Any]:
    """Read a text as LaTeX, else as a plain expression."""
    marked = "$" in text or "\\boxed" in text
    for one in [text] if marked else [f"${text}$", text]:
        found = parse(one, parsing_timeout=None, raise_on_error=False)  # type: ignore[arg-type]
        # Where nothing is understood, the text itself comes back.
        if any(not isinstance(one, str) for one in found):
            return found
    return []


if __name__ == "__main__":
    guard_sympy()
    import_sympy()
    compare("$\\frac{1}{2}$", "$0.5$")  # what is made when it is first used
    serve(prepare)
