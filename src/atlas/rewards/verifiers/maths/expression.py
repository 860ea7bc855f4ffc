r"""One expression, cut into tokens -> SymPy's, as a calculator reads it: products before sums.

Input: tokens of LaTeX or plain text. Output: an expression, or `Unreadable` where one of them is
left over. Nothing is evaluated as code, and no number is worked out that is too large.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sympy
from sympy import Expr, Integer, Rational, Symbol

_MOST_BITS = 100_000
_LARGEST = 3000
"""Of which a factorial is worked out."""
_HIGHEST = 10_000
"""Power of a letter."""
_DEEPEST = 60
_TIMES, _OVER = ("*", r"\cdot", r"\times"), ("/", r"\div")
_SCALE = Symbol("log", positive=True)
"""1 over the logarithm of the base that ``log`` has where none is written: 10, e or 2."""


def _log(x: Expr) -> Expr:
    return sympy.log(x) * _SCALE


_TRIG = ("sin", "cos", "tan", "cot", "sec", "csc")
FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {
    **{name: getattr(sympy, name) for name in _TRIG},
    **{f"{name}h": getattr(sympy, f"{name}h") for name in _TRIG[:3]},
    **{f"{arc}{name}": getattr(sympy, f"a{name}") for arc in ("arc", "a") for name in _TRIG},
    **{"ln": sympy.log, "log": _log, "exp": sympy.exp, "abs": sympy.Abs, "sgn": sympy.sign},
    **{"floor": sympy.floor, "ceil": sympy.ceiling},
}
_GREEK = (
    *("alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "theta", "lambda", "mu", "nu"),
    *("rho", "sigma", "tau", "phi", "varphi", "omega", "Omega", "Delta", "ell", "kappa", "eta"),
)
_NAMED: Mapping[str, Any] = {
    **{"pi": sympy.pi, "infty": sympy.oo, "infinity": sympy.oo, "inf": sympy.oo, "oo": sympy.oo},
    **{"e": sympy.E, "i": sympy.I},
    **{name: Symbol(name) for name in _GREEK},
}
_NO_LETTERS = """
or and is no yes not the in on at to of if so as be by we it cm km mm kg mg ml ft lb oz hr min sec
deg mod gcd lcm max men day ten six one two all any div nan
"""
_NO_PRODUCT = frozenset(_NO_LETTERS.split())
"""Words of two or three letters that aren't letters multiplied."""


class Unreadable(ValueError):
    """Not all of a text is mathematics that is understood."""


class ExpressionParser:
    """Reads one expression.

    Args:
        tokens: Numbers, words, commands with their backslash, signs.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = list(tokens)
        self._depth = 0

    def whole(self) -> Expr:
        """Return what all tokens together say.

        Raises:
            Unreadable: They aren't one expression.
        """
        value = self._sum()
        if self._tokens:
            raise Unreadable(" ".join(self._tokens[:3]))
        return value

    def _next(self) -> str:
        return self._tokens[0] if self._tokens else ""

    def _take(self, *wanted: str) -> str:
        if not self._tokens or (wanted and self._tokens[0] not in wanted):
            raise Unreadable(f"'{self._next()}' for '{' '.join(wanted)}'")
        return self._tokens.pop(0)

    def _sum(self) -> Expr:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise Unreadable("nested too deeply")
        value = self._product()
        while self._next() in ("+", "-"):
            sign = -1 if self._take() == "-" else 1
            value = value + sign * self._product()
        self._depth -= 1
        return value

    def _product(self) -> Expr:
        value = self._signed()
        while True:
            token = self._next()
            if token in _TIMES or token in _OVER:
                self._take()
                factor = self._signed()
                value = _over(value, factor) if token in _OVER else _bounded(value * factor)
            elif token and token not in ("+", "-") and self._begins(token):
                value = _bounded(value * self._power())
            else:
                return value

    def _signed(self) -> Expr:
        if self._next() in ("+", "-"):
            self._depth += 1
            if self._depth > _DEEPEST:
                raise Unreadable("too many signs")
            sign = -1 if self._take() == "-" else 1
            return sign * self._signed()
        return self._power()

    def _begins(self, token: str) -> bool:
        return (
            token[0].isalnum()
            or token[0] == "."
            or token in ("(", "{", "[")
            or (
                token[0] == "\\"
                and token[1:].isalpha()
                and token not in (r"\rangle", r"\rfloor", r"\rceil", r"\cup")
            )
        )

    def _power(self) -> Expr:
        mixed = self._mixed()
        base = self._postfix() if mixed is None else mixed
        if self._next() == "^":
            self._take()
            if self._next() in ("+", "-"):
                sign = -1 if self._take() == "-" else 1
                return _raised(base, sign * self._power())
            return _raised(base, self._power())
        return base

    def _mixed(self) -> Expr | None:
        r"""Read ``3\frac{1}{2}``, which is no product."""
        if len(self._tokens) > 1 and self._tokens[0].isdigit() and self._tokens[1] == r"\frac":
            whole = Integer(self._take())
            part = self._atom()
            if part.is_Rational and 0 < part < 1 and part.is_Integer is False:
                return whole + part
            return whole * part
        return None

    def _postfix(self) -> Expr:
        value = self._atom()
        if self._next() == "!":
            self._take()
            if self._next() == "!" or (
                value.is_number and not (value.is_Integer and 0 <= value <= 3000)
            ):
                raise Unreadable("!")
            value = sympy.factorial(value)
        while self._next() in ("%", r"\%", "°"):
            value = value * (sympy.pi / 180 if self._take() == "°" else Rational(1, 100))
        return value

    def _atom(self) -> Expr:
        token = self._take()
        if token[0].isdigit() or token[0] == ".":
            return Rational(token)
        if token in ("(", "{", "["):
            value = self._sum()
            self._take({"(": ")", "{": "}", "[": "]"}[token])
            return value
        if token == "|":
            value = self._sum()
            self._take("|")
            return sympy.Abs(value)
        word = token.removeprefix("\\")
        if word in ("frac", "binom"):
            over, under = self._argument(), self._argument()
            return _over(over, under) if word == "frac" else _choose(over, under)
        if word == "sqrt":
            return self._root()
        if word in FUNCTIONS:
            return self._function(word)
        return self._named(token, word)

    def _named(self, token: str, word: str) -> Expr:
        if word in ("lfloor", "lceil"):
            value = self._sum()
            self._take(f"\\r{word[1:]}")
            return (sympy.floor if word == "lfloor" else sympy.ceiling)(value)
        if word == "mathbb":
            self._take("{")
            name = self._take()
            self._take("}")
            return Symbol(rf"\mathbb{name}")
        return self._symbol(token, word)

    def _argument(self) -> Expr:
        r"""Read ``{...}``, or one digit: ``\frac12`` is a half."""
        if self._next() == "{":
            return self._atom()
        token = self._take()
        if token.isdigit():
            if len(token) > 1:
                self._tokens.insert(0, token[1:])
            return Integer(token[0])
        if (token[0].isalpha() and len(token) == 1) or token == r"\pi":
            return self._symbol(token, token.removeprefix("\\"))
        raise Unreadable(token)

    def _root(self) -> Expr:
        degree: Expr = Integer(2)
        if self._next() == "[":
            self._take()
            degree = self._sum()
            self._take("]")
        if not (degree.is_Integer and 0 < degree < 1000):
            raise Unreadable("root")
        # \sqrt12 may be √12 or 2√1.
        single = len(self._next()) == 1 or self._next() == r"\pi"
        if not single:
            raise Unreadable("sqrt")
        return sympy.root(self._atom(), degree)

    def _function(self, name: str) -> Expr:
        power: Expr | None = None
        base: Expr | None = None
        while self._next() in ("^", "_"):
            if self._take() == "^":
                negative = self._next() == "-" and bool(self._take())
                power = -self._atom() if negative else self._atom()
            else:
                base = self._atom()
        if self._next() in ("(", "{", "[", "|"):
            argument = self._atom()
        else:
            argument = self._power()
            while self._next() and self._next() not in ("+", "-") and self._begins(self._next()):
                if self._next().removeprefix("\\") in FUNCTIONS or self._next() in ("(", "["):
                    break
                argument = argument * self._power()
        if power == -1 and name in _TRIG:
            return FUNCTIONS[f"arc{name}"](argument)
        value = sympy.log(argument, base) if base is not None else FUNCTIONS[name](argument)
        return value if power is None else _raised(value, power)

    def _symbol(self, token: str, word: str) -> Expr:
        if word in _NAMED:
            return _NAMED[word]
        if token.startswith("\\") or (len(word) > 1 and word.casefold() in _NO_PRODUCT):
            raise Unreadable(token)
        letters = re.findall(r"[A-Za-z]'?", word)
        if len(letters) > 3:
            raise Unreadable(word)
        value: Expr = Integer(1)
        for letter in letters[:-1]:
            value = value * _NAMED.get(letter, Symbol(letter))
        last = letters[-1]
        if self._next() == "_":
            self._take()
            inside = self._take()
            if inside == "{":
                inside = self._take()
                self._take("}")
            return value * Symbol(f"{last}_{inside}")
        return value * _NAMED.get(last, Symbol(last))


def _over(over: Expr, under: Expr) -> Expr:
    if under == 0:
        raise Unreadable("a division by zero")
    return over / under


def _choose(over: Expr, under: Expr) -> Expr:
    if not (over.is_Integer and under.is_Integer and abs(over) <= _LARGEST):
        raise Unreadable("binom")
    return sympy.binomial(over, under)


def _raised(base: Expr, exponent: Expr) -> Expr:
    """Return a power, unless it is a number too large to be written."""
    if base.is_Rational and exponent.is_Rational:
        if base == 0 and not exponent > 0:
            raise Unreadable("a power of zero")
        bits = max(abs(base.p).bit_length(), base.q.bit_length())  # type: ignore[attr-defined]
        if bits > 1 and bits * abs(exponent) > _MOST_BITS:
            raise Unreadable("a number too large")
    value = base**exponent
    if value.is_Pow and value.exp.is_Rational and abs(value.exp) > _HIGHEST:  # type: ignore[attr-defined]
        raise Unreadable("a power too high")
    return value


def _bounded(value: Expr) -> Expr:
    if value.is_Rational and abs(value.p).bit_length() > 2 * _MOST_BITS:  # type: ignore[attr-defined]
        raise Unreadable("a number too large")
    return value
