"""Whether two pieces of mathematics are equal: exactly, never to a rounding.

Input: two `Node`. Output: yes or no. Numbers are equal where they agree in their first 50 digits,
expressions with letters where they do so at several places; fractions are compared as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sympy
from sympy import Expr, Rational, Symbol

from atlas.rewards.verifiers.maths.text import Node

_DIGITS = 60
_AGREE = 50
_PLACES = tuple(Rational(*pair) for pair in ((7, 5), (23, 9), (-11, 7), (3, 13), (-29, 6)))
_TURNED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "!=": "!=", "=": "="}


def are_equal(one: Node, other: Node) -> bool:
    """Tell whether two answers are the same."""
    if one.name and other.name and one.name != other.name:
        return False
    one, other = _like(one, other), _like(other, one)
    if {one.kind, other.kind} == {"set", "value"}:
        one, other = (_alone(node) for node in (one, other))
    if {one.kind, other.kind} == {"set", "list"}:
        one, other = Node("set", one.parts), Node("set", other.parts)
    if one.kind != other.kind:
        return False
    if one.kind == "value":
        return equal_values(one.parts[0], other.parts[0])
    if one.kind == "relation":
        return _same_relation(one, other)
    if one.kind in ("set", "list", "union"):
        same_size = one.kind == "set" or len(one.parts) == len(other.parts)
        return same_size and _all_in(one.parts, other.parts) and _all_in(other.parts, one.parts)
    return len(one.parts) == len(other.parts) and all(map(are_equal, one.parts, other.parts))


def equal_values(one: Expr, other: Expr) -> bool:
    """Tell whether two expressions have the same value wherever they have one."""
    if one == other:
        return True
    if one.is_Rational and other.is_Rational:
        return False
    letters = sorted(one.free_symbols | other.free_symbols, key=str)
    if not letters:
        return _agree(one, other) is True
    found: list[bool] = []
    for shift in range(len(_PLACES)):
        place: dict[Any, Any] = {
            letter: _PLACES[(shift + number) % len(_PLACES)] + Rational(number, 17)
            for number, letter in enumerate(letters)
        }
        if any(letter.is_positive for letter in letters):
            place = {letter: abs(value) for letter, value in place.items()}
        agree = _agree(one.subs(place), other.subs(place))
        if agree is False:
            return False
        found += [True] if agree else []
    return len(found) >= 3


def _agree(one: Expr, other: Expr) -> bool | None:
    """Compare two numbers; None where one of them has no value."""
    values = [sympy.N(value, _DIGITS) for value in (one, other)]
    if any(value.has(sympy.nan, sympy.zoo) for value in values):
        return None
    if any(value.has(sympy.oo, sympy.S.NegativeInfinity) for value in values):
        return values[0] == values[1]
    if not all(value.is_number and value.is_finite for value in values):
        return None
    largest = max(abs(value) for value in values)
    difference = sympy.N(abs(one - other), 15)
    return bool(difference <= largest * Rational(10) ** -_AGREE)


def _alone(node: Node) -> Node:
    inner = node.parts[0] if node.kind == "set" and len(node.parts) == 1 else node
    return inner if isinstance(inner, Node) else node


def _all_in(some: Sequence[Node], others: Sequence[Node]) -> bool:
    return all(any(are_equal(one, other) for other in others) for one in some)


def _like(node: Node, other: Node) -> Node:
    """Write a node as what it is held against, where the two can mean the same."""
    if other.kind == "relation" and node.kind == "value" and node.name:
        return Node("relation", (("=",), (Symbol(node.name.removeprefix("\\")), *node.parts)))
    relations = node.kind == "list" and all(part.kind == "relation" for part in node.parts)
    if other.kind == "union" and relations:
        return Node("union", tuple(_interval(part, other) for part in node.parts))
    return _interval(node, other)


def _interval(node: Node, other: Node) -> Node:
    """Turn ``1 < x <= 2`` into ``(1, 2]`` where that is what it is held against."""
    if node.kind != "relation" or other.kind == "relation":
        return node
    relations, sides = node.parts
    letters = [number for number, side in enumerate(sides) if isinstance(side, Symbol)]
    if len(letters) != 1 or len(sides) > 3 or "!=" in relations or "=" in relations:
        return node
    low, high = (-sympy.oo, "("), (sympy.oo, ")")
    for number, relation in enumerate(relations):
        left, right = sides[number], sides[number + 1]
        if isinstance(left, Symbol):
            left, right, relation = right, left, _TURNED[relation]
        closed = relation.endswith("=")
        if relation.startswith("<"):
            low = (left, "[" if closed else "(")
        else:
            high = (left, "]" if closed else ")")
    ends = tuple(Node("value", (end,)) for end in (low[0], high[0]))
    return Node(low[1] + high[1], ends)


def _same_relation(one: Node, other: Node) -> bool:
    (signs, sides), (other_signs, other_sides) = one.parts, other.parts
    if len(sides) != len(other_sides):
        return False
    turned = tuple(_TURNED.get(sign, sign) for sign in reversed(other_signs))
    candidates: list[tuple[Any, Any]] = [(other_signs, other_sides), (turned, other_sides[::-1])]
    if any(
        signs == theirs and all(map(equal_values, sides, values)) for theirs, values in candidates
    ):
        return True
    if len(sides) > 2:
        return False
    # 2x + 2 = 4y is x + 1 = 2y; 2x < 4 is x < 2, and -x > -2.
    for theirs, values in candidates:
        if signs == theirs:
            ratio = _constant_ratio(sides[0] - sides[1], values[0] - values[1])
            if ratio is not None and (signs[0] in ("=", "!=") or ratio > 0):
                return True
    return False


def _constant_ratio(one: Expr, other: Expr) -> Expr | None:
    letters = sorted(one.free_symbols | other.free_symbols, key=str)
    place: dict[Any, Any] = dict(zip(letters, _PLACES[: len(letters)], strict=False))
    below = other.subs(place)
    if len(letters) > len(_PLACES) or not below.is_number or below == 0:
        return None
    ratio: Any = one.subs(place) / below
    if ratio.is_real and ratio != 0 and equal_values(one, ratio * other):
        return ratio
    return None
