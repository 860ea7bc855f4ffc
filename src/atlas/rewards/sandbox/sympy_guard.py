"""SymPy made fit for a jail: what it parses is checked first, what it imports late is there.

Input: a process that will read text with SymPy. Output: nothing; its SymPy is changed for good.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from functools import cache
from types import ModuleType
from typing import Any

import sympy
from sympy.parsing import sympy_parser

from atlas.rewards.sandbox.expression_check import LONGEST, UnsafeExpression, check_sympy_code

UNUSED = ("tests", "benchmarks", "testing", "plotting", "interactive", "physics", "galgebra")
UNUSED += ("this", "deprecated", "conftest", "codegen", "diffgeom", "crypto", "liealgebras")
UNUSED += ("categories", "unify", "sandbox", "parsing", "vector", "stats")
UNUSED += ("pytorch", "pytest", "runtests", "randtest", "tmpfiles", "_compilation")
"""Parts of SymPy that working with an expression has no use for."""

_GATHER = "from sympy import *"
_SUMS = re.compile(r"(?!.*\*\*)[0-9 .()+*/-]*")
"""Texts with no name in them, nothing to call and no power, so that no number in them grows longer
than the text: what `check_sympy_code` looks for can't be there."""


def guard_sympy() -> None:
    """Put `check_sympy_code` into SymPy's parser: whoever has a text read has it checked.

    The parser gathers the names of all SymPy anew for each text, which takes longer than to read
    it; here it gets a copy of those gathered once.
    """
    stringify: Any = sympy_parser.stringify_expr
    names: dict[str, Any] = {}
    exec(_GATHER, names)

    def checked(text: str, local_dict: Any, global_dict: Any, transformations: Any) -> str:
        if len(text) > LONGEST:
            raise UnsafeExpression(f"more than {LONGEST} characters")
        code: str = stringify(text, local_dict, global_dict, transformations)
        if not _SUMS.fullmatch(text):
            check_sympy_code(code, {name for name in local_dict if isinstance(name, str)})
        return code

    def give_names(code: str, into: dict[str, Any]) -> None:
        if code != _GATHER:
            raise UnsafeExpression("nothing is executed here")
        into.update(names)

    sympy_parser.stringify_expr = checked
    sympy_parser.exec = give_names  # type: ignore[attr-defined]


@cache
def import_sympy() -> None:
    """Import what SymPy imports when it needs it, for in the jail it can't."""
    _import_below(sympy)


def _import_below(package: ModuleType) -> None:
    for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if found.name.rpartition(".")[2] not in UNUSED:
            module = importlib.import_module(found.name)
            if found.ispkg:
                _import_below(module)
