"""Functions of the user's as tools."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import pytest

from atlas.environments.tools.tool import tool_of
from atlas.errors import AtlasError
from atlas.types import Task

PAGE = Path(__file__).resolve().parents[4] / "docs" / "students.md"


def search(query: str, most: int = 3, kind: Literal["a", "b"] = "a", tags: list[str] | None = None):
    """Look something up.

    Not shown.
    """


def test_a_function_says_what_it_takes() -> None:
    tool = tool_of("m:search", search)
    assert (tool.name, tool.description, tool.only_text) == (
        "search",
        "Look something up.",
        "query",
    )
    assert tool.parameters["properties"]["most"] == {"default": 3, "type": "integer"}
    assert tool.parameters["required"] == ["query"]
    assert tool.parameters["additionalProperties"] is False
    assert tool.line == (
        "search(query: string, most: integer = 3, kind: 'a' | 'b' = 'a', "
        "tags: array | null = None): Look something up."
    )
    assert tool.spec["function"]["name"] == "search"


def test_what_cant_be_given_by_name_is_no_tool() -> None:
    def bare(*things: str) -> None: ...

    def odd(thing: Any, other: object(), /) -> None: ...  # pyright: ignore

    for function in (bare, odd):
        with pytest.raises(AtlasError, match=r"tools: 'm:f' can't be a tool: "):
            tool_of("m:f", function)


def test_the_function_of_the_page_is_a_tool() -> None:
    codes = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    (code,) = [code for code in codes if "def days_between" in code]
    made: dict[str, Any] = {}
    exec(code, made)
    tool = tool_of("my_tools:days_between", made["days_between"])
    assert tool.line == (
        "days_between(start: string, end: string): Count the days from one date to another."
    )
    task = Task(question="?", answer="", family="")
    assert tool.call({"start": "2024-02-20", "end": "2024-03-02"}, task) == 11
