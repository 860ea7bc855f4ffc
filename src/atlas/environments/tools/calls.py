r"""The calls in what a model wrote, where no API reads them: tolerant of how models write them.

Input: text, the tools that there are. Output: `Said`, the text besides, and the calls. Read are, in
this order:

- ``<tool_call>{"name": …, "arguments": {…}}</tool_call>``, once or more; with ``<function=NAME>``
  in it, too;
- a line ``Call: NAME {…}``, as the prompts ask for it; also ``Action: NAME`` with
  ``Action Input: …`` below it. What comes behind it the model has made up: it goes;
- nothing but JSON, with a name and arguments, or a list of such;
- a fenced block that is marked with the name of a tool whose one argument is a text: of ``sql``,
  unless the text has a final answer.

Example:
    >>> from atlas.environments.tools.tool import tool_of
    >>> def sql(query: str) -> str: "Ask."
    >>> tools = {"sql": tool_of("sql", sql)}
    >>> read_calls("I look.\nCall: sql {\"query\": \"SELECT 1\"}\n> 7\nAnswer: 7", tools)
    Said(text='I look.', calls=(('sql', '{"query": "SELECT 1"}'),))
    >>> read_calls("```sql\nSELECT 1\n```", tools).calls
    (('sql', 'SELECT 1'),)
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atlas.environments.tools.tool import Tool
from atlas.json_file import json_value

Called = tuple[str, str]
"""A tool's name, and the arguments as they were written."""

_TAGGED = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|\Z)", re.DOTALL)
_FUNCTION = re.compile(r"<function=([\w.-]+)>\s*(.*?)\s*(?:</function>|\Z)", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([\w.-]+)>\s*(.*?)\s*</parameter>", re.DOTALL)
_LINE = re.compile(
    r"^[\s*_#>`-]*(?:tool[ _]?call|call|action|tool)[*_` ]*:[*_ ]*[`'\"]?(?P<name>[\w.-]+)[`'\"]?",
    re.IGNORECASE | re.MULTILINE,
)
_INPUT = re.compile(r"^\s*(?:action[ _]input|input|arguments)\s*:\s*", re.IGNORECASE)
_FENCE = re.compile(r"```[ \t]*([\w.-]*)[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)
_ANSWERS = re.compile(r"\banswer\b[*_ ]*:", re.IGNORECASE)
_TEMPLATE_WORDS = re.compile(r"^\s*(?:\[TOOL_CALLS\]|<\|python_tag\|>)\s*")
_ARGUMENTS = ("arguments", "parameters", "args", "input")


@dataclass(frozen=True, slots=True)
class Said:
    """What a model said in one turn."""

    text: str
    """Without its calls."""
    calls: tuple[Called, ...]


def read_calls(text: str, tools: Mapping[str, Tool]) -> Said:
    """Return what a text says, and which tools it calls; none where it calls nothing."""
    for read in (_tagged, _lines, _bare, _fenced):
        found = read(text, tools)
        if found is not None:
            return found
    return Said(text, ())


def _tagged(text: str, tools: Mapping[str, Tool]) -> Said | None:
    blocks = _TAGGED.findall(text)
    calls = tuple(call for block in blocks for call in _in_block(block))
    return Said(text[: text.index("<tool_call>")].strip(), calls) if calls else None


def _in_block(block: str) -> list[Called]:
    if functions := _FUNCTION.findall(block):
        return [(name, _parameters(body)) for name, body in functions]
    return _named(_json(block))


def _parameters(body: str) -> str:
    given = dict(_PARAMETER.findall(body))
    return json.dumps(given) if given else body


def _lines(text: str, tools: Mapping[str, Tool]) -> Said | None:
    for line in _LINE.finditer(text):
        name = line["name"]
        if name in tools:
            rest = text[line.end() :].lstrip(" \t`*:")
            rest = _INPUT.sub("", rest, count=1)
            return Said(text[: line.start()].strip(), ((name, _arguments(rest)),))
    return None


def _arguments(rest: str) -> str:
    """Return the arguments that a text begins with: an object, a block, a bracket, or its line."""
    if rest.lstrip().startswith("{"):
        rest = rest.lstrip()
        try:
            return rest[: json.JSONDecoder(strict=False).raw_decode(rest)[1]]
        except (ValueError, RecursionError):
            return rest.partition("\n")[0].strip()
    if block := _FENCE.match(rest.lstrip()):
        return block[2].strip()
    line = rest.partition("\n")[0].strip()
    inside = re.fullmatch(r"\((.*)\)", line)
    return (inside[1].strip() if inside else line).strip("`")


def _bare(text: str, tools: Mapping[str, Tool]) -> Said | None:
    bare = _TEMPLATE_WORDS.sub("", text).strip()
    block = _FENCE.fullmatch(bare)
    calls = _named(_json(block[2] if block else bare))
    known = tuple(call for call in calls if call[0] in tools)
    return Said("", known) if known else None


def _fenced(text: str, tools: Mapping[str, Tool]) -> Said | None:
    if _ANSWERS.search(text):
        return None
    for block in _FENCE.finditer(text):
        tool = tools.get(block[1].lower())
        if tool is not None and tool.only_text is not None and block[2].strip():
            return Said(text[: block.start()].strip(), ((tool.name, block[2].strip()),))
    return None


def _named(value: Any) -> list[Called]:
    """Return the calls that a JSON value is."""
    if isinstance(value, list):
        return [call for one in value for call in _named(one)]
    if not isinstance(value, dict):
        return []
    inner = value.get("function")
    value = inner if isinstance(inner, dict) else value
    name = value.get("name", value.get("tool"))
    if not isinstance(name, str):
        return []
    given = next((value[key] for key in _ARGUMENTS if key in value), {})
    return [(name, given if isinstance(given, str) else json.dumps(given))]


def _json(text: str) -> Any:
    try:
        return json_value(text, object, strict=False)
    except ValueError:
        return None
