"""SymPy in a jail: what is read is what SymPy alone reads, and nothing heavy comes with it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from atlas.rewards.sandbox.sympy_guard import _SUMS

READ = """
import json, sys
import sympy
from sympy.parsing.sympy_parser import T, parse_expr
texts = json.loads(sys.argv[1])
def read():
    for text in texts:
        yield [str(parse_expr(text, local, transformations=way))
               for way in (T[:5], T[:]) for local in (None, {"x": sympy.Symbol("x", real=True)})]
alone = list(read())
from atlas.rewards.sandbox.sympy_guard import guard_sympy, import_sympy
guard_sympy()
import_sympy()
def said(text):
    try:
        return str(parse_expr(text))
    except Exception as error:
        return type(error.__cause__ or error).__name__ + type(error).__name__
unread = [said(text) for text in json.loads(sys.argv[2])]
heavy = sorted({"torch", "pytest", "matplotlib"} & sys.modules.keys())
json.dump([alone, list(read()), unread, heavy], sys.stdout)
"""
READABLE = ["1/2 + 3*(4 - .5)", "-7 // 2", "sqrt(x) + pi", "Max(1, x)", "max(2, 3)", "x**2"]
UNSAFE = ["9**9**9**9", "open('x')", "x.__class__", "().real", "a := 1"]


@pytest.fixture(scope="module")
def found() -> Any:
    command = [sys.executable, "-W", "ignore", "-c", READ, json.dumps(READABLE), json.dumps(UNSAFE)]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def test_it_reads_what_sympy_alone_reads(found: Any) -> None:
    alone, guarded, _, _ = found
    assert guarded == alone
    assert alone[0][2] == "11"


def test_nothing_unsafe_is_read(found: Any) -> None:
    assert all("UnsafeExpression" in one or "Error" in one for one in found[2])
    assert "UnsafeExpression" in found[2][0]


def test_no_heavy_library_comes_with_it(found: Any) -> None:
    assert found[3] == []


@pytest.mark.parametrize("text", ["1/2 + 3*(4 - .5)", "", "((1", "-7//2", "1..2()"])
def test_sums_are_harmless(text: str) -> None:
    assert _SUMS.fullmatch(text)


@pytest.mark.parametrize(
    "text",
    ["2**3", "1 + 2 ** 3", "x", "1e9", "1_0", "\u0664", "5!", "1\n2", "[1]", "1j", "2^3"],
)
def test_what_could_be_more_than_a_sum_is_checked(text: str) -> None:
    assert not _SUMS.fullmatch(text)
