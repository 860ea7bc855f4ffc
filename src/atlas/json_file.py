"""JSON, read: the one reader of every JSON file, line and reply that another program wrote.

Input: a path, or text and the words for where it comes from. Output: plain values of the type that
was asked for. Length and depth are checked before anything is built. Text comes out storable: half
of a surrogate pair has no UTF-8, PostgreSQL holds no U+0000, and JSON can spell both; each becomes
U+FFFD here, so that nothing behind this door has to expect them.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from atlas.errors import AtlasError

MAX_BYTES: Final = 32_000_000
MAX_DEPTH: Final = 200
MAX_DIGITS: Final = 300
"""Of a whole number; one with more is no floating-point number either."""

T = TypeVar("T")

_NAMES: Final = {
    dict: "an object",
    list: "a list",
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}
# Strings whole, so that a bracket in one is none; one that never ends is the parser's to refuse.
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_CLOSED = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
# Escapes one by one, so that a backslash which is itself escaped begins none: whole pairs, what
# is not storable, all others.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(?P<bad>u(?:0000|[dD][89a-fA-F]..))|.)", re.DOTALL
)
_SUSPECT = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")


def read_json(path: Path, *, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Return the object in a file, which is in UTF-8 with or without a byte order mark.

    Args:
        max_bytes: A longer file is refused.

    Raises:
        AtlasError: It can't be read, isn't JSON, holds no object, or is too much of one.
    """
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise AtlasError(f"{path} can't be read: {error.strerror}") from error
    return parse_json(content, str(path), max_bytes=max_bytes)


def parse_json(
    text: bytes | str, where: str, kind: type[T] = dict, *, max_bytes: int = MAX_BYTES
) -> T:
    """Return the content of JSON text; ``where`` names it in messages.

    Raises:
        AtlasError: As for `read_json`.
    """
    try:
        return json_value(text, kind, max_bytes=max_bytes)
    except ValueError as error:
        raise AtlasError(f"{where} can't be read as JSON: {error}") from error


def json_value(
    text: bytes | str, kind: type[T] = dict, *, max_bytes: int = MAX_BYTES, strict: bool = True
) -> T:
    """Return the content of JSON text, for who has more to say about where it comes from.

    Args:
        text: UTF-8 where it is bytes.
        kind: What it must hold; ``object`` for anything.
        max_bytes: Longer text is refused.
        strict: Control characters must be escaped.

    Raises:
        ValueError: One line that says what is wrong with it, and in which line and column.
    """
    content = text.encode("utf-8", "replace") if isinstance(text, str) else text
    try:
        if len(content) > max_bytes:
            raise ValueError(f"it is longer than {max_bytes:,} bytes")
        if is_too_deep(content):
            raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")
        clean = _storable(content).decode("utf-8-sig")
        found = json.loads(
            clean,
            parse_float=finite,
            parse_int=whole,
            parse_constant=_refuse_constant,
            strict=strict,
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}, column {error.colno}: {error.msg}") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line}: no UTF-8: {error.reason} at byte {error.start}") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(found, kind) or (isinstance(found, bool) and kind in (int, float)):
        raise ValueError(f"expected {_name(kind)}, found {_name(type(found))}")
    return found


def _name(kind: type) -> str:
    return _NAMES.get(kind, kind.__name__)


def is_too_deep(content: bytes) -> bool:
    """Return whether values are nested more than ``MAX_DEPTH`` deep, where they are any at all."""
    if content.count(b"[") + content.count(b"{") <= MAX_DEPTH:
        return False
    brackets = _STRING.sub(b"", content).translate(_CLOSED, _NO_BRACKETS)
    for _ in range(MAX_DEPTH):
        inner = brackets.replace(b"[]", b"")  # one level less, from within
        if len(inner) == len(brackets):
            return False  # nothing in it, or nothing that the parser wouldn't refuse
        brackets = inner
    return bool(brackets)


def has_half_surrogate(content: bytes) -> bool:
    """Return whether JSON spells half of a surrogate pair, which other readers take for text."""
    bad = (found["bad"] for found in _ESCAPE.finditer(content) if found["bad"])
    return any(escape != b"u0000" for escape in bad)


def _storable(content: bytes) -> bytes:
    if not _SUSPECT.search(content):
        return content
    return _ESCAPE.sub(lambda found: b"\\ufffd" if found["bad"] else found[0], content)


def finite(digits: str) -> float:
    """Read a number with a fraction; a ``ValueError`` says that it is too large."""
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"the number {digits[:40]} is too large")
    return value


def whole(digits: str) -> int:
    """Read a whole number; a ``ValueError`` says that it has too many digits."""
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"the number {digits[:20]}… has {len(digits):,} digits")
    return int(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
