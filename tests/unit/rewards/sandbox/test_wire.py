"""Values come out of the wire as they went in, of Python's own types."""

from __future__ import annotations

from enum import IntEnum
from fractions import Fraction
from typing import Any

import pytest

from atlas.rewards.sandbox.wire import BrokenWire, Handle, decode, encode


class Text(str):
    pass


class Number(IntEnum):
    ONE = 1


PLAIN = [
    *(None, True, "a\ud800", 0, -(10**30), 1.5, -0.0, 1 + 2j, Fraction(-1, 3), b"\0"),
    *([1, ["a", None]], (1, ()), {1, "a"}, frozenset({(1, 2)}), {"a": {2: [3.5]}, (1,): False}),
]


@pytest.mark.parametrize("value", PLAIN)
def test_a_value_comes_out_as_it_went_in(value: Any) -> None:
    found = decode(encode(value, lambda _: 0), lambda _: None)
    assert repr(found) == repr(value)


@pytest.mark.parametrize(("value", "plain"), [(Text("a"), "a"), (Number.ONE, 1), ([Text()], [""])])
def test_a_subclass_comes_out_as_what_it_is_a_kind_of(value: Any, plain: Any) -> None:
    found = decode(encode(value, lambda _: 0), lambda _: None)
    assert (found, type(found)) == (plain, type(plain))


def test_what_can_t_travel_stays_and_is_found_by_its_number() -> None:
    kept = object()
    assert decode(encode([kept, Handle(5)], lambda _: 7), str) == ["7", "5"]


@pytest.mark.parametrize("message", [{"list": 1}, {"int": "x"}, {}, {"code": ""}, {"list": [{}]}])
def test_what_is_no_value_is_refused(message: Any) -> None:
    with pytest.raises(BrokenWire):
        decode(message, lambda _: None)
