"""Values and arithmetic are worked out; whatever else stands in a text is refused."""

from __future__ import annotations

import types

import pytest

from atlas.rewards.sandbox.expression_check import (
    LONGEST,
    UnsafeExpression,
    check_sympy_code,
    evaluate,
    guard_module,
)


@pytest.mark.parametrize(
    "text",
    [
        "['a', 'b']",
        " [[1, 0], (1.5, -2), {3}] ",
        "{'a': None, 1: True}",
        "(0xff << 2) + ~7 // 2 ** 3",
    ],
)
def test_values_and_arithmetic_are_what_eval_makes_of_them(text: str) -> None:
    assert evaluate(text) == eval(text.strip())


ATTACKS = [
    "open('ran', 'w').write('x')",
    "exit()",
    "__import__('os')._exit(0)",
    "().__class__.__base__.__subclasses__()",
    "[x for x in (1,)]",
    "(lambda: 1)()",
    "f'{open}'",
    "(y := 1)",
    "9**9**9**9",
    "1 << 10**9",
    "'a' * 10**9",
    "[0] * 10**9",
    "(" * 1000 + ")" * 1000,
    "1+" * LONGEST + "1",
    "1" * 5000,
    "x\0y",
    "\ud800",
    "{**{}}",
    "",
]


@pytest.mark.parametrize("text", ATTACKS)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(UnsafeExpression):
        evaluate(text)


@pytest.mark.parametrize(
    "code",
    [
        "Integer (1 )+Symbol ('x' )**Integer (2 )",
        "sin (Symbol ('x' ))/Float ('1.5' )-sqrt (pi )",
        "Function ('f' )(Symbol ('x' ))",
        "x *C ",
        "Rational ('0.5' )",
    ],
)
def test_what_sympy_makes_of_mathematics_passes(code: str) -> None:
    check_sympy_code(code, {"x", "C"})


@pytest.mark.parametrize(
    "code",
    [
        *("open ('ran','w')", "open (Symbol ('x' ))", "exit ()", "sympify ('1' )"),
        *("Symbol ('x' ).func", "sin (x =Integer (1 ))", "lambdify (Symbol ('x' ))", "'x'"),
        *("Function ('f' ,'g' )(Symbol ('x' ))", "Lambda (Symbol ('x' ),Symbol ('x' ))", "(1)(2)"),
        *(
            "Integer (9 )**Integer (9 )**Integer (9 )**Integer (9 )",
            "factorial (Integer (10 **8 ))",
        ),
        *(
            "Pow (Integer (9 ),Integer (10 )**Integer (9 ))",
            "Integral (Symbol ('x' ),Symbol ('x' ))",
        ),
    ],
)
def test_what_is_no_mathematics_is_refused(code: str) -> None:
    with pytest.raises(UnsafeExpression):
        check_sympy_code(code, {"x"})


def test_a_guarded_module_finds_neither_eval_nor_exec() -> None:
    module = types.ModuleType("module")
    code = "def score(text): return eval(text)\ndef run(text): exec(text)"
    exec(code, module.__dict__)
    guard_module(module)
    assert module.score("[1, 2]") == [1, 2]
    for name in ("score", "run"):
        with pytest.raises(UnsafeExpression):
            getattr(module, name)("print()")
