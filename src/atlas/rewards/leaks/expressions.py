"""Arithmetic in a text: which calculations does it name, and what do they come to?

Input: a text in lower case with digits for number words. Output: a `Calculation` for each one that
no other one uses, with named results put in: "a = 10 + 4. b = a - 2. answer b." is (10 + 4) - 2. A
result that is told ("3 * 4 = 12") stands for its calculation where it is used after that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

_OPERAND = r"((?:\d+(?:\.\d+)?)|\b[a-z]\b|\([^()]*\))"
_SAID: Sequence[tuple[str, str]] = (
    (rf"\badd(?:ing)?\s+{_OPERAND}\s+(?:and|to|with)\s+{_OPERAND}", r"(\1 + \2)"),
    (rf"\bsum\s+of\s+{_OPERAND}\s+and\s+{_OPERAND}", r"(\1 + \2)"),
    (rf"{_OPERAND}\s+more\s+than\s+{_OPERAND}", r"(\2 + \1)"),
    (rf"{_OPERAND}\s+(?:less|fewer)\s+than\s+{_OPERAND}", r"(\2 - \1)"),
    (rf"\b(?:subtract(?:ing)?|take)\s+{_OPERAND}\s+(?:away\s+)?from\s+{_OPERAND}", r"(\2 - \1)"),
    (rf"\bdifference\s+(?:of|between)\s+{_OPERAND}\s+and\s+{_OPERAND}", r"(\1 - \2)"),
    (rf"\bmultiply(?:ing)?\s+{_OPERAND}\s+(?:by|and|with)\s+{_OPERAND}", r"(\1 * \2)"),
    (rf"\bproduct\s+of\s+{_OPERAND}\s+and\s+{_OPERAND}", r"(\1 * \2)"),
    (rf"\bdivid(?:e|ing)\s+{_OPERAND}\s+by\s+{_OPERAND}", r"(\1 / \2)"),
    (rf"\b(?:number|integer)\s+(?:right\s+|just\s+)?(?:after|above)\s+{_OPERAND}", r"(\1 + 1)"),
    (rf"\b(?:number|integer)\s+(?:right\s+|just\s+)?(?:before|below)\s+{_OPERAND}", r"(\1 - 1)"),
    (rf"\b(?:double|twice)\s+{_OPERAND}", r"(2 * \1)"),
    (rf"\btriple\s+{_OPERAND}", r"(3 * \1)"),
    (rf"\bhalf\s+(?:of\s+)?{_OPERAND}", r"(\1 / 2)"),
    (rf"\bsquare\s+of\s+{_OPERAND}", r"(\1 ^ 2)"),
    (rf"{_OPERAND}\s+squared\b", r"(\1 ^ 2)"),
    (r"\b(?:plus|added\s+to)\b", "+"),
    (r"\b(?:minus|take\s+away)\b", "-"),
    (r"\b(?:times|multiplied\s+by)\b|[×·∙⋅]", "*"),
    (r"\bdivided\s+by\b|÷", "/"),
    (r"\*\*", "^"),
)
_TOKEN = re.compile(r"\d+(?:\.\d+)?(?![\d.]*\d)|\b[a-z]\b|[-+*/^()=]|\bis\b|\n|[^\s]")
_LARGEST_POWER = 64
_LONGEST = 4000
"""Characters that are read of a text; a plan is short, and a detector must be quick."""
_MOST_NUMBERS = 64
_DEEPEST = 20


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it stands in the text."""

    value: Fraction


@dataclass(frozen=True, slots=True)
class Operation:
    """Two operands and a sign: ``+ - * / ^``."""

    sign: str
    left: Expression
    right: Expression


Expression: TypeAlias = "Number | Operation"


@dataclass(frozen=True, kw_only=True, slots=True)
class Calculation:
    """One calculation that stands by itself.

    Example:
        >>> [calculation] = calculations("a = 10 + 4. b = a - 2. answer b.")
        >>> calculation.value, [int(leaf) for leaf in leaves(calculation.expression)]
        (Fraction(12, 1), [10, 4, 2])
    """

    expression: Expression
    value: Fraction


def calculations(text: str) -> list[Calculation]:
    """Return the calculations of a text that no later one uses."""
    return _Reader(_tokens(text)).read()


def leaves(expression: Expression) -> list[Fraction]:
    """Return the numbers of an expression, from left to right."""
    if isinstance(expression, Number):
        return [expression.value]
    return leaves(expression.left) + leaves(expression.right)


def evaluate(expression: Expression, values: Iterator[Fraction]) -> Fraction | None:
    """Work an expression with these numbers for its leaves; None where it has no value."""
    if isinstance(expression, Number):
        return next(values)
    left = evaluate(expression.left, values)
    right = evaluate(expression.right, values)
    if left is None or right is None:
        return None
    return _apply(expression.sign, left, right)


def _apply(sign: str, left: Fraction, right: Fraction) -> Fraction | None:
    if sign == "^":
        whole = right.denominator == 1 and abs(right) <= _LARGEST_POWER
        small = abs(left.numerator) < 10**6 and left.denominator < 10**6
        return Fraction(left**right) if whole and small and (left or right >= 0) else None
    if sign == "/":
        return left / right if right else None
    return {"+": left + right, "-": left - right, "*": left * right}[sign]


def _tokens(text: str) -> list[str]:
    text = text[:_LONGEST]
    for pattern, put in _SAID:
        text = re.sub(pattern, put, text)
    return _TOKEN.findall(text)


class _Reader:
    """Reads tokens from left to right, and remembers what was named and told."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = tokens
        self._named: dict[str, Expression] = {}
        self._told: dict[Fraction, Expression] = {}
        self._found: list[Expression] = []
        self._used: set[int] = set()
        self._depth = 0

    def read(self) -> list[Calculation]:
        place = 0
        while place < len(self._tokens):
            parsed = self._sum(place)
            if parsed is None:
                place += 1
                continue
            expression, after = parsed
            name = self._name_before(place)
            if isinstance(expression, Operation) and id(expression) not in map(id, self._found):
                self._found.append(expression)
                self._tell(expression, after)
            if name and not (isinstance(expression, Number) and self._token(after) in "+-*/^"):
                self._named[name] = expression
            place = after
        results: list[Calculation] = []
        for expression in self._found:
            value = evaluate(expression, iter(leaves(expression)))
            if value is not None and id(expression) not in self._used:
                results.append(Calculation(expression=expression, value=value))
        return results

    def _token(self, place: int) -> str:
        return self._tokens[place] if 0 <= place < len(self._tokens) else "\n"

    def _name_before(self, place: int) -> str | None:
        if self._token(place - 1) in ("=", "is") and re.fullmatch("[a-z]", self._token(place - 2)):
            return self._token(place - 2)
        return None

    def _tell(self, expression: Expression, after: int) -> None:
        """Remember the result that is told after a calculation."""
        told = self._token(after + 1)
        if self._token(after) in ("=", "is") and told[0].isdigit():
            value = evaluate(expression, iter(leaves(expression)))
            if value is not None and value == Fraction(told):
                self._told[value] = expression

    def _sum(self, place: int) -> tuple[Expression, int] | None:
        return self._chain(place, ("+-", "*/", "^"))

    def _chain(self, place: int, signs: tuple[str, ...]) -> tuple[Expression, int] | None:
        """Read operands joined by the first of ``signs``; the others bind them more tightly."""
        if not signs:
            return self._operand(place)
        parsed = self._chain(place, signs[1:])
        while parsed is not None and self._token(parsed[1]) in tuple(signs[0]):
            left, at = parsed
            right = self._chain(at + 1, signs[1:])
            if right is None or len(leaves(left)) + len(leaves(right[0])) > _MOST_NUMBERS:
                break
            for used in (left, right[0]):
                self._used.add(id(used))
            parsed = Operation(self._token(at), left, right[0]), right[1]
        return parsed

    def _operand(self, place: int) -> tuple[Expression, int] | None:
        token = self._token(place)
        if token[0].isdigit():
            number = Fraction(token)
            return self._told.get(number, Number(number)), place + 1
        if token in self._named and self._token(place + 1) not in ("=", "is"):
            return self._named[token], place + 1
        if token == "-" and self._token(place + 1)[0].isdigit():
            return Number(-Fraction(self._token(place + 1))), place + 2
        if token == "(" and self._depth < _DEEPEST:
            self._depth += 1
            inner = self._sum(place + 1)
            self._depth -= 1
            if inner is not None and self._token(inner[1]) == ")":
                return inner[0], inner[1] + 1
        return None
