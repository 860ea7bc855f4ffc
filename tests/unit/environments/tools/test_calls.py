"""Calls as models write them, and what is none."""

from __future__ import annotations

import json

import pytest

from atlas.environments.tools.calls import read_calls
from atlas.environments.tools.tool import tool_of


def sql(query: str) -> str:
    """Ask."""
    return query


def add(a: int, b: int) -> int:
    """Add."""
    return a + b


TOOLS = {"sql": tool_of("sql", sql), "add": tool_of("add", add)}
ADD = '{"name": "add", "arguments": {"a": 1, "b": 2}}'


@pytest.mark.parametrize(
    "text",
    [
        f"<tool_call>\n{ADD}\n</tool_call>",
        f"<tool_call>{ADD}",
        f"```json\n{ADD}\n```",
        ADD,
        f"[{ADD}]",
        f"[TOOL_CALLS] [{ADD}]",
        f"<|python_tag|>{ADD}",
        '{"name": "add", "parameters": {"a": 1, "b": 2}}',
        f'{{"type": "function", "function": {ADD}}}',
        'Call: add {"a": 1, "b": 2}',
        '**Call:** `add` {"a": 1, "b": 2}',
        'Call: add\n{"a": 1,\n "b": 2}\n',
        'Call: add({"a": 1, "b": 2})',
        'Action: add\nAction Input: {"a": 1, "b": 2}\nObservation: 7\nAnswer: 7',
        'Call: add {"a": 1, "b": 2}\n> 3\nCall: add {"a": 3, "b": 3}',
        '<tool_call><function=add>{"a": 1, "b": 2}</function></tool_call>',
    ],
)
def test_the_ways_in_which_models_call(text: str) -> None:
    ((name, arguments),) = read_calls(text, TOOLS).calls
    assert (name, json.loads(arguments)) == ("add", {"a": 1, "b": 2})


@pytest.mark.parametrize(
    "text",
    [
        "Call: sql SELECT 1",
        "Call: sql\n```sql\nSELECT 1\n```",
        "Let us see.\n```sql\nSELECT 1\n```",
        "Call: sql (SELECT 1)",
        'Call: sql "SELECT 1"',
        "<tool_call><function=sql><parameter=query>SELECT 1</parameter></function></tool_call>",
    ],
)
def test_a_tool_of_one_text_is_called_by_the_text(text: str) -> None:
    ((name, arguments),) = read_calls(text, TOOLS).calls
    assert name == "sql"
    assert "SELECT 1" in arguments


def test_several_calls_in_one_turn() -> None:
    said = read_calls(f"Both.\n<tool_call>{ADD}</tool_call><tool_call>{ADD}</tool_call>", TOOLS)
    assert said.text == "Both."
    assert [name for name, _ in said.calls] == ["add", "add"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Answer: 7",
        "I would call: nobody.",
        "Call: me maybe",
        '{"name": "Ada", "age": 7}',
        "Answer:\n```sql\nSELECT 1\n```",
        "```python\nadd(1, 2)\n```",
        "<tool_call>not JSON</tool_call>",
        "[" * 10_000,
        '{"name": 1}',
    ],
)
def test_what_is_no_call_is_what_was_said(text: str) -> None:
    said = read_calls(text, TOOLS)
    assert (said.text, said.calls) == (text, ())


def test_a_call_of_a_tool_that_there_is_not_is_one_where_it_is_marked_as_one() -> None:
    said = read_calls('<tool_call>{"name": "drop", "arguments": {}}</tool_call>', TOOLS)
    assert said.calls == (("drop", "{}"),)
