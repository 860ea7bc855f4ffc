"""What fuzzing gives to the parsers: valid documents with a few things broken, and odd values.

Every property is decorated with ``@fuzz``. Alone it tries few examples, always the same ones, so
that no submission fails by chance; with ``ATLAS_FUZZ=5000`` (``make fuzz``) it tries so many new
ones.
"""

from __future__ import annotations

import copy
import json
import os
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from atlas.errors import AtlasError

T = TypeVar("T")
Strategy = st.SearchStrategy[Any]

WANTED = int(os.environ.get("ATLAS_FUZZ", "0"))
"""Examples of each property; 0: as many as the property says, always the same."""
LONGEST_LINE = 4100


def fuzz(examples: int = 150) -> settings:
    """Return how a property is tried; ``examples``: fewer where one takes long."""
    return settings(
        max_examples=max(examples, WANTED * examples // 150),
        derandomize=not WANTED,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


def refused(
    function: Callable[..., T], *arguments: Any, kind: type[Exception] = AtlasError, **more: Any
) -> T | None:
    """Return what a parser gives; None where it refuses, in one line that can be shown."""
    try:
        return function(*arguments, **more)
    except kind as error:
        said = str(error)
        assert said, "an error without a word"
        assert shows(said), ascii(said)
        return None


def shows(line: str) -> bool:
    """Tell whether a text is one line, not too long, that does nothing to a terminal."""
    acts = {"Cc", "Cs", "Zl", "Zp"}
    turns = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    return len(line) <= LONGEST_LINE and not any(
        mark in turns or unicodedata.category(mark) in acts for mark in line
    )


_HUGE = "@@huge@@"
"""Becomes a number of so many digits that Python itself neither writes nor reads it."""


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


ODD_TEXTS: Sequence[str] = (
    *(
        "",
        " ",
        "\n",
        "\0",
        "\ud800",
        "a\udfffb",
        "\x1b]0;x\x07\x1b[31m",
        "a\r\nb",
        "\u2028",
        "\u202e",
    ),
    *("x" * 5000, "é\u0301\U0001f600", "\ufeff", "NaN", "-inf", "1e999", "0x10", "١٢", "²", "½"),
    *(
        "../../etc/passwd",
        "/dev/zero",
        "~",
        "${oc.env:HOME}",
        "${seed}",
        "{{ 7 * 7 }}",
        "{x}",
        "%s",
    ),
    *("<|end|>", "</think>", "\\boxed{", "Answer:", "####", "*" * 300, "(" * 300, "$" * 99, "[[[["),
    *("null", "true", "*a", "!!python/name:os.system", "- a", "a: b", "2026-11-30", "12:30:45"),
)
ODD_VALUES: Sequence[Any] = (
    *(None, True, False, 0, -1, 1, 2**31, -(2**63), 2**64, 10**30, 10**299, _HUGE, 0.5, -0.0),
    *(1e308, -1e308, 5e-324, float("nan"), float("inf"), float("-inf"), [], {}, [[]], [None]),
    *({"": None}, {"\ud800": 1}, {"a": {"b": []}}, _nested(30), _nested(150), _nested(300)),
    *([1, "1", 1.0, True], ["a"] * 1000, {str(n): n for n in range(300)}),
)
texts = (
    st.sampled_from(ODD_TEXTS)
    | st.text(max_size=30)
    | st.text(" \n-+*/^()[]{}.,0123456789e%$\\=<>aA", max_size=40)
)
values = (
    st.sampled_from(ODD_VALUES)
    | texts
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=6,
    )
)
"""What may stand anywhere in a JSON document."""


@st.composite
def mutated(draw: st.DrawFn, valid: Any, most: int = 3) -> Any:
    """Return a copy of a valid document in which up to ``most`` values are others, gone or new."""
    document = copy.deepcopy(valid)
    for _ in range(draw(st.integers(0, most))):
        places = list(_places(document))
        if not places:
            return copy.deepcopy(draw(values))
        holder, name = draw(st.sampled_from(places))
        what = draw(st.sampled_from(["replace", "replace", "remove", "add", "swap"]))
        if what == "remove":
            del holder[name]
        elif what == "add" and isinstance(holder, dict):
            holder[draw(texts)] = copy.deepcopy(draw(values))
        elif what == "add":
            holder.insert(name, copy.deepcopy(draw(values)))
        elif what == "swap":
            other, its = draw(st.sampled_from(places))
            holder[name] = copy.deepcopy(other[its])
        else:
            holder[name] = copy.deepcopy(draw(values))
    return document


def _places(document: Any) -> Any:
    pairs = document.items() if isinstance(document, dict) else ()
    pairs = enumerate(document) if isinstance(document, list) else pairs
    for name, value in list(pairs):
        yield document, name
        yield from _places(value)


def as_json(document: Any, *, plain: bool = False, indent: int | str | None = None) -> bytes:
    """Return JSON of any value, of what JSON has not, too."""
    text = json.dumps(document, ensure_ascii=not plain, indent=indent)
    text = text.replace(f'"{_HUGE}"', "9" * 6000)
    return text.encode("utf-8", "surrogatepass")


@st.composite
def documents(draw: st.DrawFn, valid: Any, most: int = 3) -> bytes:
    """Return a valid document as JSON, with values changed, or bytes, or both."""
    made = draw(mutated(valid, most))
    content = as_json(made, plain=draw(st.booleans()))
    return draw(damaged(content)) if draw(st.integers(0, 3)) == 0 else content


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Return bytes of which some were changed, cut off, left out, repeated or put in."""
    made = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(made)))
        end = min(len(made), start + draw(st.integers(0, 40)))
        what = draw(st.sampled_from(["flip", "cut", "out", "twice", "in", "front"]))
        if what == "flip" and start < len(made):
            made[start] ^= 1 << draw(st.integers(0, 7))
        elif what == "cut":
            del made[start:]
        elif what == "out":
            del made[start:end]
        elif what == "twice":
            made[start:start] = made[start:end] * draw(st.sampled_from([1, 2, 300]))
        elif what == "front":
            made[:0] = draw(st.sampled_from([b"\xef\xbb\xbf", b"\xff\xfe", b"\0", b"\n"]))
        else:
            made[start:start] = draw(st.binary(max_size=8) | texts.map(_encoded))
    return bytes(made)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
