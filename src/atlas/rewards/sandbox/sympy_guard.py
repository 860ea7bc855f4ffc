"""SymPy made fit for a jail: what it parses is checked first, what it imports late is there.

Input: a process that will read text with SymPy. Output: nothing; its SymPy is changed for good.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import ModuleType
from typing import Any

import sympy
from sympy.parsing import sympy_parser

from atlas.rewards.sandbox.expression_check import LONGEST, UnsafeExpression, check_sympy_code

UNUSED = ("tests", "benchmarks", "testing", "plotting", "interactive", "physics", "galgebra")
UNUSED += ("this", "deprecated", "conftest", "codegen", "diffgeom", "crypto", "liealgebras")
UNUSED += ("categories", "unify", "sandbox", "parsing", "vector", "stats")
"""Parts of SymPy that working with an expression has no use for."""


def guard_sympy() -> None:
    """Put `check_sympy_code` into SymPy's parser: whoever has a text read has it checked."""
    stringify: Any = sympy_parser.stringify_expr

    def checked(text: str, local_dict: Any, global_dict: Any, transformations: Any) -> str:
        if len(text) > LONGEST:
            raise UnsafeExpression(f"more than {LONGEST} characters")
        code: str = stringify(text, local_dict, global_dict, transformations)
        check_sympy_code(code, {name for name in local_dict if isinstance(name, str)})
        return code

    sympy_parser.stringify_expr = checked


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
