r"""A process that compares mathematical answers, each in a jailed fork: JSON in, JSON out.

Run as a file, by `atlas.rewards.verifiers.maths.verifier`. SymPy takes some answers for ever or all
memory; what it does, it does in the jail (`forks`), and text that it would evaluate is checked
first (`sympy_guard`), though none is handed to it. An item is a reference and an answer::

    {"items": [["\\frac{1}{2}", "0.5"]], "cpu_seconds": 10.0, "children": 1}
    {"results": [{"value": {"reference": true, "answer": true, "right": true}}]}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atlas.rewards.sandbox.forks import Work, serve
from atlas.rewards.sandbox.sympy_guard import guard_sympy, import_sympy
from atlas.rewards.verifiers.maths.equal import are_equal
from atlas.rewards.verifiers.maths.text import Node, read_maths


def prepare(_: Mapping[str, Any]) -> Work:
    """Return what compares the two texts of an item."""
    return lambda item: compare(*item)


def compare(reference: str, answer: str) -> dict[str, bool]:
    """Return which of the two could be read, and whether they are equal."""
    gold, found = _read(reference), _read(answer)
    right = gold is not None and found is not None and are_equal(gold, found)
    return {"reference": gold is not None, "answer": found is not None, "right": right}


def _read(text: str) -> Node | None:
    try:
        return read_maths(text)
    except (ValueError, ArithmeticError, AttributeError, RecursionError, TypeError):
        return None


if __name__ == "__main__":
    guard_sympy()
    import_sympy()
    # What is made when it is first used.
    compare(r"\sqrt{x}+\frac{\pi}{2}", r"0.5\pi+\sqrt{x}")
    serve(prepare)
