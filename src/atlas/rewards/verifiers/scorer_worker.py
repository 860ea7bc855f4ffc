"""A process that asks reasoning-gym's scorers, each in a jailed fork: JSON in, JSON out.

Run as a file, by `atlas.rewards.verifiers.reasoning`. Some scorers hand the answer to `eval` or to
SymPy; here both check it first (`expression_check`), and what they do, they do in the jail
(`forks`). An item is the family, the number of its entry, and the answer; entries are encoded by
`wire`::

    {"entries": [...], "items": [["countdown", 0, "1 + 2"]], "cpu_seconds": 5.0, "children": 1}
    {"results": [{"value": 0.05}]}
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Mapping
from functools import cache
from types import ModuleType
from typing import Any

import reasoning_gym

from atlas.rewards.sandbox.expression_check import guard_module
from atlas.rewards.sandbox.forks import Work, serve
from atlas.rewards.sandbox.sympy_guard import guard_sympy, import_sympy
from atlas.rewards.sandbox.wire import decode

Scorer = Callable[[str, dict[str, Any]], float]


def prepare(request: Mapping[str, Any]) -> Work:
    """Make the scorers of a request's families, which may read files; return what scores."""
    scorers = {family: _scorer(family) for family in {item[0] for item in request["items"]}}
    entries = request["entries"]

    @cache
    def packed(number: int) -> bytes:
        return pickle.dumps(decode(entries[number], _no_handle))

    def score(item: tuple[str, int, str]) -> float:
        family, number, answer = item
        scorer = scorers[family]
        if isinstance(scorer, Exception):
            raise scorer
        # Each answer meets an entry of its own: a scorer may change what it is given.
        return float(scorer(answer, pickle.loads(packed(number))))

    return score


@cache
def _scorer(family: str) -> Scorer | Exception:
    try:
        scorer: Any = reasoning_gym.get_score_answer_fn(family)
    except Exception as error:  # of the library's: such a family can't be asked
        return error
    if _uses_sympy(sys.modules[type(scorer.__self__).__module__]):
        import_sympy()
    return scorer


def _uses_sympy(module: ModuleType) -> bool:
    values = vars(module).values()
    named = (getattr(one, "__module__", None) or getattr(one, "__name__", "") for one in values)
    return any(str(name).split(".")[0] == "sympy" for name in named)


def _no_handle(_: int) -> None:
    raise ValueError("an entry holds no handles")


if __name__ == "__main__":
    for _name, _module in list(sys.modules.items()):
        if _name.split(".")[0] == "reasoning_gym":
            guard_module(_module)
    guard_sympy()
    serve(prepare)
