"""What a model says: its answers, teachings and code, by every reader and verifier."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.reliability.fuzz.broken import as_json, fuzz, mutated, texts, values

from atlas.config.parts.answers import ANSWER_FORMATS
from atlas.rewards.leaks.find import find_leak
from atlas.rewards.own import _checked
from atlas.rewards.repetition import repetition
from atlas.rewards.verifiers.answers import bare, read_answer, read_block
from atlas.rewards.verifiers.numeric.quantity import read_quantity
from atlas.rewards.verifiers.reference import says_the_same
from atlas.rewards.verifiers.registry import verify_all
from atlas.types import Task

FORMATS = (*ANSWER_FORMATS, "json:a.b", "json:$.0", r"regex:(\d+)", "regex:x*", "regex:(a+)+b")
PIECES = (
    *("Answer:", "**Answer:**", "the answer is", "####", "\\boxed{", "}", "<answer>", "</answer>"),
    *(
        "</think>",
        "<think>",
        "$",
        "$$",
        "\\[",
        "\\]",
        "\n",
        " ",
        "5",
        "-5",
        "1,200",
        "1/2",
        "1e400",
    ),
    *(
        "2.5e3",
        "\\frac{1}{2}",
        "x = 5",
        "5 or 6",
        "[1, 2)",
        "\\{1, 2\\}",
        "\\sqrt{2}",
        "9**9**9",
        "5!",
    ),
    *(
        "half of",
        "million",
        "km/h",
        "%",
        "٣",
        "²",
        "½",
        "\uff0d5",
        "(",
        ")",
        "{",
        '{"a": {"b": 5}}',
        "`",
    ),
    *(
        "```python\n",
        "```",
        "def f(x):\n    return x\n",
        "exit()",
        "\\pi",
        "^",
        "_",
        "&",
        "\\\\",
        "|",
    ),
    *(
        "\\begin{pmatrix}1&2\\end{pmatrix}",
        "\\text{ cm}",
        "\\pm",
        "\\infty",
        "\\overline{3}",
        "<|end|>",
    ),
    *(
        "fourteen",
        "one hundred",
        "XIV",
        "0xE",
        "1110",
        "MTQ=",
        "chr(49)",
        "quatorze",
        "十四",
        "7 * 2",
    ),
)
said = st.lists(st.sampled_from(PIECES) | texts, max_size=8).map("".join)
numbers = st.integers(-(10**20), 10**20)
VERIFIERS = ("exact", "numeric", "reference", "regex", "json_schema", "math")
"""Those of tests in Python start a process for each answer."""
FAMILIES = ("countdown", "string_insertion", "puzzle24", "simple_equations", "basic_arithmetic")


@fuzz(400)
@given(said, st.sampled_from(FORMATS))
def test_an_answer_is_read(text: str, answer_format: str) -> None:
    found = read_answer(text, answer_format)
    assert found is None or found.text
    block = read_block(text, "python")
    assert block is None or block.rule in ("block", "answer")


@fuzz()
@given(said)
def test_marks_are_taken_away_once_and_for_all(text: str) -> None:
    assert bare(bare(text)) == bare(text)


@fuzz()
@given(numbers)
def test_a_number_is_read_however_it_is_written(number: int) -> None:
    plain = f"{number:,}"
    written = (plain, f"**Answer:** {plain}", rf"so \boxed{{{number}}}", f"#### {number}")
    for text in (f"Answer: {number}", *written[1:]):
        found = read_answer(text)
        assert found is not None
        assert says_the_same(found.text, str(number)), text
        quantity = read_quantity(found.text)
        assert quantity is not None
        assert quantity.value == number, text
    assert not says_the_same(plain, str(number + 1))


@fuzz()
@given(st.fractions(-(10**6), 10**6, max_denominator=10**4))
def test_a_fraction_is_read(value: Fraction) -> None:
    found = read_quantity(f"{value.numerator}/{value.denominator}")
    assert found is not None
    assert found.value == value


@fuzz(300)
@given(said)
def test_a_quantity_is_one_or_none(text: str) -> None:
    found = read_quantity(text)
    assert found is None or isinstance(found.value, Fraction)


task_values = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("tolerance", "absolute_tolerance", "need_unit", "answers"), values),
        "pattern": said | values,
        "schema": mutated({"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}}) | values,
        "ignore_case": values,
        "answer_format": st.sampled_from(FORMATS) | values,
    },
)


@fuzz(25)
@given(
    st.sampled_from(VERIFIERS),
    st.lists(st.tuples(said, said, task_values), min_size=4, max_size=6),
)
def test_a_verifier_has_a_verdict_on_anything(
    verifier: str, cases: list[tuple[str, str, dict[str, Any]]]
) -> None:
    tasks = [
        Task(question="q", answer=answer, family="f", metadata={**metadata, "verifier": verifier})
        for answer, _, metadata in cases
    ]
    verdicts = verify_all(tasks, [f"Answer: {text}" for _, text, _ in cases])
    for verdict in verdicts:
        assert verdict.score is None or 0 <= verdict.score <= 1


@fuzz(10)
@given(st.sampled_from(FAMILIES), st.lists(st.tuples(said, said, task_values), min_size=3))
def test_a_scorer_of_others_has_a_verdict_on_anything(
    family: str, cases: list[tuple[str, str, dict[str, Any]]]
) -> None:
    tasks = [
        Task(question="q", answer=answer, family=family, metadata=metadata)
        for answer, _, metadata in cases
    ]
    for verdict in verify_all(tasks, [f"Answer: {text}" for _, text, _ in cases]):
        assert verdict.score is None or 0 <= verdict.score <= 1


@fuzz(8)
@given(said, said, values)
def test_code_and_tests_have_a_verdict(code: str, tests: str, limit: Any) -> None:
    metadata = {"verifier": "python_tests", "tests": tests, "entry": "f", "time_limit": limit}
    if isinstance(limit, int | float) and limit > 1:
        metadata["time_limit"] = 1
    task = Task(question="q", answer="", family="f", metadata=metadata)
    (verdict,) = verify_all([task], [f"```python\n{code}\n```"])
    assert verdict.score is None or 0 <= verdict.score <= 1


@fuzz()
@given(mutated({"a": {"b": 5}, "c": [1, 2.5, None]}))
def test_json_equals_itself(value: Any) -> None:
    content = as_json(value).decode()
    task = Task(question="q", answer=content, family="json_schema")
    (verdict,) = verify_all([task], [f"Answer: {content}"])
    if _is_strict(content):
        assert verdict.correct, verdict.reason


def _is_strict(content: str) -> bool:
    try:
        again = json.dumps(json.loads(content), allow_nan=False)
    except (ValueError, RecursionError):
        return False
    plain = ("`", "<", "\\u", "\\", "Answer", "answer", "\n", "*", "$", "#")
    return again == content and "1e" not in content and not any(mark in content for mark in plain)


@fuzz(250)
@given(said, said, said)
def test_a_teaching_leaks_or_not(question: str, answer: str, teaching: str) -> None:
    leak = find_leak(Task(question=question, answer=answer, family="f"), teaching)
    assert leak is None or leak.reason


@fuzz()
@given(st.integers(10, 10**9), said)
def test_an_answer_that_is_stated_leaks(number: int, before: str) -> None:
    teaching = f"{before}\nThe answer is {number}."
    assert find_leak(Task(question="How many?", answer=str(number), family="f"), teaching)


@fuzz()
@given(values)
def test_what_a_function_of_a_user_gives(value: Any) -> None:
    found = _checked(value)
    assert found is None or found.value is None or isinstance(found.value, float)


@fuzz()
@given(said)
def test_repetition_is_a_share(text: str) -> None:
    repetition(text)
