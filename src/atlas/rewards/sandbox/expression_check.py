"""Text that a library would evaluate is looked at first, so that none of it can run as code.

Input: what a model wrote, on its way to `eval` or into SymPy. Output: its value, or an
`UnsafeExpression` where it is more than values and arithmetic: an attribute, a call of anything but
a mathematical function, a number too large to work out. The jail (`forks`) holds
whatever gets past this.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Container, Mapping
from typing import Any

LONGEST = 20_000
"""Characters; a board or a matrix is shorter."""
_MOST_BITS = 1 << 20
"""Of a number that is worked out on the way."""

_OPERATORS: Mapping[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Invert: operator.invert,
}
_SEQUENCES: Mapping[type[ast.AST], Callable[..., Any]] = {
    ast.List: list,
    ast.Tuple: tuple,
    ast.Set: set,
}

_TEXT_TAKERS = {"Symbol", "Function", "Integer", "Float", "Rational"}
"""What SymPy's parser itself calls with a text."""
_FUNCTIONS = _TEXT_TAKERS | {
    *("Add", "Mul", "Pow", "sqrt", "cbrt", "root", "real_root", "Abs", "sign", "exp", "log", "ln"),
    *("sin", "cos", "tan", "cot", "sec", "csc", "asin", "acos", "atan", "acot", "asec", "acsc"),
    *("sinh", "cosh", "tanh", "coth", "sech", "csch", "asinh", "acosh", "atanh", "acoth"),
    *("asech", "acsch", "atan2", "sinc", "floor", "ceiling", "frac", "Max", "Min", "max", "min"),
    *("abs", "round", "factorial", "factorial2", "binomial", "gamma", "Mod", "re", "im", "arg"),
    *("conjugate", "erf", "erfc", "erfi", "Ei", "Si", "Ci", "li", "LambertW", "Heaviside"),
}
_GROWING = {"Pow", "factorial", "factorial2", "binomial", "gamma"}
"""Functions whose values have as many digits as their argument is large."""
_CONSTANTS = {"pi", "E", "I", "oo", "zoo", "nan", "GoldenRatio", "EulerGamma", "Catalan"}
_SYMPY_NODES = (
    *(ast.Expression, ast.Constant, ast.Name, ast.Load, ast.Call, ast.BinOp, ast.UnaryOp),
    *(ast.Tuple, ast.List, ast.Set, ast.Compare, ast.cmpop, ast.unaryop),
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow),
)


class UnsafeExpression(ValueError):
    """The text is more than values and arithmetic."""


def evaluate(text: str, *_: Any) -> Any:
    """Work out values and arithmetic as `eval` would, and nothing else.

    Raises:
        UnsafeExpression: It holds anything else, or a number too large.

    Example:
        >>> evaluate("[['a', 1 + 2], (0x10 << 2,)]")
        [['a', 3], (64,)]
    """
    return _value(_parsed(text).body)


def check_sympy_code(code: str, names: Container[str] = ()) -> None:
    """Look at the Python that SymPy's parser made of a text, before it is evaluated.

    Args:
        code: Of `sympy.parsing.sympy_parser.stringify_expr`.
        names: Further names that stand for symbols.

    Raises:
        UnsafeExpression: It is more than arithmetic with symbols and mathematical functions.
    """
    tree = _parsed(code)
    loose = 0
    for node in ast.walk(tree):
        if not isinstance(node, _SYMPY_NODES):
            raise UnsafeExpression(f"{type(node).__name__} is no arithmetic")
        if isinstance(node, ast.Call):
            _check_call(node, names)
            loose -= _takes_text(node)
        elif isinstance(node, ast.Constant):
            loose += isinstance(node.value, str)
        elif isinstance(node, ast.Name) and not _is_known(node.id, names):
            raise UnsafeExpression(f"'{node.id}' is no function of mathematics")
    if loose > 0:
        raise UnsafeExpression("a text is no arithmetic")
    _bits(tree.body)


def guard_module(module: Any) -> None:
    """Let a module see `evaluate` where it says `eval`, and nothing where it says `exec`."""
    module.eval = evaluate
    module.exec = _no_exec


def _no_exec(*_: Any) -> None:
    raise UnsafeExpression("nothing is executed here")


def _parsed(text: Any) -> ast.Expression:
    if not isinstance(text, str) or len(text) > LONGEST:
        raise UnsafeExpression(f"no text of at most {LONGEST} characters")
    try:
        return ast.parse(text.strip(), mode="eval")
    except (SyntaxError, MemoryError, RecursionError, ValueError) as error:
        raise UnsafeExpression("it can't be read") from error


def _value(node: ast.AST) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if type(node) in _SEQUENCES:
        return _SEQUENCES[type(node)](_value(one) for one in node.elts)  # type: ignore[attr-defined]
    if isinstance(node, ast.Dict) and None not in node.keys:
        keys = [_value(key) for key in node.keys if key is not None]
        return dict(zip(keys, map(_value, node.values), strict=True))
    if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_number(node.operand))
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = _number(node.left), _number(node.right)
        _limit(_combined(node.op, _size(left), _size(right)))
        return _OPERATORS[type(node.op)](left, right)
    raise UnsafeExpression(f"{type(node).__name__} is neither a value nor arithmetic")


def _number(node: ast.AST) -> int | float:
    value = _value(node)
    if not isinstance(value, int | float):
        raise UnsafeExpression("arithmetic is for numbers")
    return value


def _check_call(node: ast.Call, names: Container[str]) -> None:
    """``f(x)`` of a function of mathematics, or SymPy's ``Function('f')(x)``."""
    if node.keywords:
        raise UnsafeExpression("no arguments have names here")
    called = node.func
    if isinstance(called, ast.Call):
        if not (isinstance(called.func, ast.Name) and called.func.id == "Function"):
            raise UnsafeExpression("what is called is no function")
    elif not isinstance(called, ast.Name) or not _is_known(called.id, names):
        raise UnsafeExpression("what is called is no function of mathematics")


def _is_known(name: str, names: Container[str]) -> bool:
    return name in _FUNCTIONS or name in _CONSTANTS or name in names


def _takes_text(node: ast.Call) -> bool:
    return (
        isinstance(node.func, ast.Name)
        and node.func.id in _TEXT_TAKERS
        and len(node.args) == 1
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    )


def _bits(node: ast.AST) -> float:
    """Return at least the bits of the largest number that working out ``node`` takes."""
    if isinstance(node, ast.Constant):
        value = node.value
        return _size(value) if isinstance(value, int | float) else 4.0 * len(str(value))
    if isinstance(node, ast.BinOp):
        size = _combined(node.op, _bits(node.left), _bits(node.right))
        _limit(size)
        return size
    called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
    if called == "Symbol":
        return 1.0
    if called in _GROWING and isinstance(node, ast.Call):
        sizes = [_bits(one) for one in node.args] or [1.0]
        size = _combined(ast.Pow(), sizes[0], sizes[-1])
        _limit(size)
        return size
    return max((_bits(one) for one in ast.iter_child_nodes(node)), default=1.0)


def _size(value: float) -> float:
    if isinstance(value, int):
        return float(value.bit_length() or 1)
    return max(1.0, abs(math.frexp(value)[1])) if math.isfinite(value) else 1.0


def _combined(operation: ast.operator, left: float, right: float) -> float:
    if isinstance(operation, ast.Pow):
        return left * 2.0 ** min(right, 64.0)
    if isinstance(operation, ast.LShift):
        return left + 2.0 ** min(right, 64.0)
    return left + right if isinstance(operation, ast.Mult) else max(left, right) + 1.0


def _limit(size: float) -> None:
    if size > _MOST_BITS:
        raise UnsafeExpression("a number is too large to be worked out")
