"""Values between two jailed processes: plain Python values as lines of JSON, both ways.

What arrives is made of Python's own types only, whatever the other side sent, so that no object of
the tested code ever meets a comparison of the tests. Anything else stays where it is and travels as
a number (`Handle`).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

LONGEST_LINE = 16 << 20
"""Bytes; a longer one ends the conversation."""
_DEEPEST = 200
_AS_THEY_ARE = (type(None), bool, str)
_MANY: Mapping[str, type] = {one.__name__: one for one in (list, tuple, set, frozenset)}
_SIMPLE: Mapping[str, Callable[[Any], Any]] = {
    "int": lambda text: int(text, 16),
    "float": float,
    "complex": lambda parts: complex(*parts),
    "fraction": lambda parts: Fraction(*(int(part, 16) for part in parts)),
    "bytes": bytes.fromhex,
}


@dataclass(frozen=True)
class Handle:
    """An object on the other side."""

    number: int


class BrokenWire(Exception):
    """The other side ended, or said what is no message."""


class Line:
    """One line after another over two file descriptors."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._rest = bytearray()

    def send(self, message: Any) -> None:
        """Write one message.

        Raises:
            BrokenWire: Nobody reads any more.
        """
        data = json.dumps(message).encode() + b"\n"
        try:
            while data:
                data = data[os.write(self._write_fd, data) :]
        except OSError as error:
            raise BrokenWire("the other side ended") from error

    def receive(self) -> Any:
        """Wait for one message.

        Raises:
            BrokenWire: The other side ended, or what it said is no message.
        """
        end = self._rest.find(b"\n")
        while end < 0:
            piece = os.read(self._read_fd, 1 << 20)
            found = piece.find(b"\n")
            end = len(self._rest) + found if found >= 0 else -1
            self._rest += piece
            if not piece or len(self._rest) > LONGEST_LINE:
                raise BrokenWire("the other side ended" if not piece else "the other side floods")
        line, self._rest = self._rest[:end], self._rest[end + 1 :]
        try:
            return json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BrokenWire("what arrived is no message") from error


def encode(value: Any, keep: Callable[[Any], int], depth: int = 0) -> Any:
    """Return ``value`` as JSON; ``keep`` gives a number to what can't travel."""
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    if type(value) in _AS_THEY_ARE:
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return {"int": format(value, "x")}
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": str(float(value))}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, Fraction):
        return {"fraction": [format(value.numerator, "x"), format(value.denominator, "x")]}
    if isinstance(value, bytes | bytearray):
        return {"bytes": value.hex()}
    return _encode_many(value, keep, depth)


def _encode_many(value: Any, keep: Callable[[Any], int], depth: int) -> Any:
    inner = depth + 1
    for name, kind in _MANY.items():
        if isinstance(value, kind):
            return {name: [encode(one, keep, inner) for one in value]}
    if isinstance(value, dict):
        pairs = value.items()
        return {"dict": [[encode(k, keep, inner), encode(v, keep, inner)] for k, v in pairs]}
    return {"handle": value.number if isinstance(value, Handle) else keep(value)}


def decode(message: Any, find: Callable[[int], Any]) -> Any:
    """Return what ``encode`` was given, of Python's own types; ``find`` resolves numbers.

    Raises:
        BrokenWire: It isn't anything that ``encode`` returns.
    """
    try:
        return _decode(message, find)
    except (TypeError, ValueError, KeyError, RecursionError, ZeroDivisionError) as error:
        raise BrokenWire("what arrived is no value") from error


def _decode(message: Any, find: Callable[[int], Any]) -> Any:
    if message is None or isinstance(message, bool | str | float):
        return message
    ((kind, body),) = message.items()
    if kind in _MANY:
        return _MANY[kind](_decode(one, find) for one in body)
    if kind == "dict":
        return {_decode(key, find): _decode(value, find) for key, value in body}
    return find(body) if kind == "handle" else _SIMPLE[kind](body)
