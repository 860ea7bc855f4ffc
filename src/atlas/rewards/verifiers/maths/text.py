r"""Mathematics as people and models write it -> its structure, with SymPy's expressions as leaves.

Input: LaTeX or plain text. Output: a `Node`, or `Unreadable` where any of it isn't understood: a
text is read whole or not at all, so that no part of it is taken for the answer.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from atlas.rewards.verifiers.maths.expression import FUNCTIONS, ExpressionParser, Unreadable

_MOST_TOKENS = 1500

_SIGNS = {
    **{"π": r"\pi ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "×": r"\times "},
    **{
        "÷": r"\div ",
        "·": r"\cdot ",
        "⋅": r"\cdot ",
        "±": r"\pm ",
        "\u222a": r"\cup ",
        "∈": r"\in ",
    },
    **{"∅": r"\emptyset ", "√": r"\sqrt ", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta "},
    **{"γ": r"\gamma ", "λ": r"\lambda ", "φ": r"\phi ", "ω": r"\omega ", "≈": r"\approx "},
    **{
        "\u211d": r"\mathbb{R}",
        "\u2124": r"\mathbb{Z}",
        "\u2115": r"\mathbb{N}",
        "−": "-",
    },
}
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+")
_FROM_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_VULGAR = re.compile("[¼-¾⅐-⅞]")
_CLEANED = (
    (re.compile(r"\\(?:left|right|big|Big|bigg|Bigg|displaystyle|textstyle)(?![A-Za-z])\.?"), ""),
    (re.compile(r"\\[,;:! ]|\\q?quad(?![A-Za-z])|~|\$|\\[()\[\]]"), " "),
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z]))|\\degree(?![A-Za-z])"), "°"),
    (re.compile(r"\\\\\s*$"), ""),
    (re.compile(r"\\(?:math(?:rm|bf|it)|text(?:bf)?|mbox|operatorname)\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\{,\}"), ""),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r",?\s*\b(?:and|or)\b"), ","),
    (re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)[eE]([+-]?\d+)(?!\w)"), r"(\1*10^{\2})"),
)
_REPEATING = re.compile(r"(?<![\d.])(\d*)\.(\d*)\\(?:overline|bar)\s*\{(\d{1,40})\}")
_GROUPED = re.compile(r"(?<![\d,.])[1-9]\d{0,2}(?:,\d{3})+(?![\d,])")
_MATRIX = re.compile(r"\\begin\{([pbB]?)matrix\}(.*)\\end\{\1matrix\}", re.DOTALL)
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?|\.\d+)|(?P<word>\\[A-Za-z]+|\\[{}%|]|[A-Za-z]+'?)"
    r"|(?P<sign>[-+*/^_!()\[\]{}|,;=<>%°]))"
)
_OPEN, _CLOSE = ("(", "[", "{", r"\{", r"\langle"), (")", "]", "}", r"\}", r"\rangle")
_RELATIONS = {
    **{"=": "=", "<": "<", ">": ">", r"\lt": "<", r"\gt": ">", r"\le": "<=", r"\leq": "<="},
    **{r"\leqslant": "<=", r"\ge": ">=", r"\geq": ">=", r"\geqslant": ">=", r"\ne": "!="},
    **{r"\neq": "!=", r"\in": "in", r"\approx": "~"},
}


@dataclass(frozen=True, slots=True)
class Node:
    """A part of an answer.

    ``kind`` is ``value`` (one expression), ``list`` (several answers, in any order), ``set``,
    ``union``, ``matrix`` (a list of rows), ``relation``, or a pair of brackets such as ``(]``.
    """

    kind: str
    parts: tuple[Any, ...]
    name: str = ""
    """``x`` in ``x = 5``."""


def read_maths(text: str) -> Node:
    """Return the structure of a text.

    Raises:
        Unreadable: Some of it isn't understood.
    """
    matrix = _MATRIX.fullmatch(text.strip(" $"))
    if matrix is None:
        return _node(_tokens(_cleaned(text)))
    rows = [row.split("&") for row in matrix[2].split(r"\\") if row.strip()]
    cells = [tuple(_node(_tokens(_cleaned(cell))) for cell in row) for row in rows]
    return Node("matrix", tuple(Node("row", row) for row in cells))


def _cleaned(text: str) -> str:
    for sign, put in _SIGNS.items():
        text = text.replace(sign, put)
    text = _RAISED.sub(lambda match: f"^{{{match[0].translate(_FROM_RAISED)}}}", text)
    text = _VULGAR.sub(_vulgar, text)
    text = _REPEATING.sub(_repeating, text)
    for pattern, put in _CLEANED:
        text = pattern.sub(put, text)
    if not re.search(r"[(\[{]", text):
        # In brackets, (1,200) is two numbers as often as one.
        text = _GROUPED.sub(lambda match: match[0].replace(",", ""), text)
    return text


def _repeating(match: re.Match[str]) -> str:
    r"""Write ``0.1\overline{6}`` as a fraction."""
    whole, fixed, over = match[1] or "0", match[2], match[3]
    under = (10 ** len(over) - 1) * 10 ** len(fixed)
    value = int(whole + fixed + over) - int(whole + fixed)
    return rf"\frac{{{value}}}{{{under}}}"


def _vulgar(match: re.Match[str]) -> str:
    over, under = unicodedata.normalize("NFKC", match[0]).split("\u2044")
    return rf"\frac{{{over}}}{{{under}}}"


def _tokens(text: str) -> list[str]:
    found: list[str] = []
    place, text = 0, text.rstrip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None or len(found) > _MOST_TOKENS:
            raise Unreadable(text[place : place + 20])
        token = match[0].strip()
        beside = match["number"] and found and found[-1][-1].isdigit()
        if beside and found[-2:-1] != ["_"]:  # \\log_2 16
            raise Unreadable(f"{found[-1]} {token}")
        found.append(token)
        place = match.end()
    return found


def _node(tokens: Sequence[str]) -> Node:
    unions = _split(tokens, (r"\cup",))
    if len(unions) > 1:
        return Node("union", tuple(map(_node, unions)))
    parts = _split(tokens, (",", ";"))
    if len(parts) > 1:
        return Node("list", tuple(_node(part) for part in parts if part))
    relations = [token for token in _outside(tokens) if token in _RELATIONS]
    if relations:
        return _relation(_split(tokens, tuple(_RELATIONS)), [_RELATIONS[r] for r in relations])
    if tokens in ([r"\emptyset"], [r"\varnothing"]):
        return Node("set", ())
    if inside := _bracketed(tokens):
        opened, parts, closed = inside
        if opened in (r"\{", "{"):
            return Node("set", tuple(_node(part) for part in parts if part))
        if len(parts) > 1:
            return Node(opened[-1] + closed[-1], tuple(map(_node, parts)))
    if r"\pm" in tokens:
        both = [[sign if token == r"\pm" else token for token in tokens] for sign in "+-"]
        return Node("list", tuple(_value(one) for one in both))
    return _value(tokens)


def _value(tokens: Sequence[str]) -> Node:
    return Node("value", (ExpressionParser(tokens).whole(),))


def _relation(sides: Sequence[Sequence[str]], relations: Sequence[str]) -> Node:
    if "~" in relations:
        # What is exact stands on the left, unless that is a name alone.
        at = relations.index("~")
        sides, relations = sides[: at + 1], relations[:at]
        if not relations and _name(sides[0]):
            raise Unreadable("≈")
    if not relations:
        return _node(sides[0])
    if set(relations) == {"="} or relations == ["in"]:
        if _name(sides[-1]) and relations == ["="]:
            sides = sides[::-1]
        if name := _name(sides[0]):
            last = _node(sides[-1])
            return Node(last.kind, last.parts, name)
        if not any(token[-1].isalpha() for side in sides for token in side):
            return _node(sides[-1])  # 2 + 3 = 5
        if len(sides) > 2 or relations == ["in"]:
            raise Unreadable("=")
    elif "=" in relations or "in" in relations:
        raise Unreadable(" ".join(relations))
    values = [_value(side).parts[0] for side in sides]
    return Node("relation", (tuple(relations), tuple(values)))


def _name(tokens: Sequence[str]) -> str:
    """Return ``x`` for ``x``, ``f`` for ``f(x)``, nothing for anything else."""
    plain = [token for token in tokens if token not in ("{", "}")]
    if plain and re.fullmatch(r"\\?[A-Za-z]+", plain[0]) and plain[0] not in (r"\sqrt", r"\frac"):
        if len(plain) == 1 or (len(plain) == 3 and plain[1] == "_"):
            return "".join(plain)
        if len(plain) == 4 and (plain[1], plain[3]) == ("(", ")") and plain[0] not in FUNCTIONS:
            return plain[0]
    return ""


def _outside(tokens: Sequence[str]) -> list[str]:
    """Return the tokens that are in no brackets."""
    depth, found = 0, list[str]()
    for token in tokens:
        depth -= token in _CLOSE
        if depth == 0:
            found.append(token)
        depth += token in _OPEN
    return found


def _split(tokens: Sequence[str], at: Sequence[str]) -> list[list[str]]:
    depth, parts = 0, [list[str]()]
    for token in tokens:
        depth += (token in _OPEN) - (token in _CLOSE)
        if depth == 0 and token in at:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _bracketed(tokens: Sequence[str]) -> tuple[str, list[list[str]], str] | None:
    """Return what is in the brackets that are around all of it, split at commas."""
    if len(tokens) < 2 or tokens[0] not in _OPEN or _outside(tokens) != [tokens[0], tokens[-1]]:
        return None
    parts = _split(tokens[1:-1], (",", ";"))
    plain = tokens[0] == "{" and len(parts) == 1
    return None if plain else (tokens[0], parts, tokens[-1])
