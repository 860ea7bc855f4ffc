"""A tool: what a student may call, what it takes, and what it does.

Input: a function of the user's. Output: a `Tool`, with the JSON Schema of its parameters.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, create_model

from atlas.errors import AtlasError, reason_of
from atlas.types import Task

_GIVEN = "task"
"""A parameter of that name is given the task, without its answer; no student fills it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """What a student may call.

    Example:
        >>> def add(a: int, b: int = 1) -> int:
        ...     "Add two numbers."
        ...     return a + b
        >>> tool = tool_of("add", add)
        >>> tool.line
        'add(a: integer, b: integer = 1): Add two numbers.'
        >>> tool.call({"a": 2}, Task(question="", answer="", family=""))
        3
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    """JSON Schema of its arguments: of an object."""
    call: Callable[[Mapping[str, Any], Task], Any]
    """Takes arguments that fit and the task without its answer; may be async."""

    @property
    def spec(self) -> dict[str, Any]:
        """What an API, or a chat template, is told of it."""
        function = {"name": self.name, "description": self.description}
        return {
            "type": "function",
            "function": {**function, "parameters": dict(self.parameters)},
        }

    @property
    def line(self) -> str:
        """What a student is told of it in words."""
        known = self.parameters.get("properties", {})
        needed = self.parameters.get("required", ())
        shown = [f"{name}: {_type(of)}{_default(name, of, needed)}" for name, of in known.items()]
        return f"{self.name}({', '.join(shown)}): {self.description}".removesuffix(": ")

    @property
    def only_text(self) -> str | None:
        """The name of the one argument that has to be given, where that is a text."""
        needed = self.parameters.get("required", ())
        known = self.parameters.get("properties", {})
        one = needed[0] if len(needed) == 1 else None
        return one if one and known.get(one, {}).get("type") == "string" else None


def tool_of(name: str, function: Callable[..., Any]) -> Tool:
    """Return a function of the user's as a tool: its name, its docstring, its parameters' types.

    Args:
        name: By which the configuration names it, for messages.
        function: May be async. A parameter called ``task`` is given the task. Of a `Tool` that the
            name stands for, that is the tool itself.

    Raises:
        AtlasError: Its parameters have types that JSON has none for, or no names.
    """
    try:
        hints = get_type_hints(function, include_extras=True)
        parameters = inspect.signature(function).parameters
        unnamed = [
            one.name
            for one in parameters.values()
            if one.kind not in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
        ]
        if unnamed:
            raise TypeError(f"its parameter {unnamed[0]} can't be given by name")
        given: dict[str, Any] = {
            one.name: (hints.get(one.name, Any), ... if one.default is one.empty else one.default)
            for one in parameters.values()
            if one.name != _GIVEN
        }
        model: type[BaseModel] = create_model(
            "Arguments", __config__=ConfigDict(extra="forbid"), **given
        )
        schema = _untitled(model.model_json_schema())
    except Exception as error:  # whatever a type of the user's raises
        raise AtlasError(f"tools: '{name}' can't be a tool: {reason_of(error)}") from error

    def call(arguments: Mapping[str, Any], task: Task) -> Any:
        read = model.model_validate(dict(arguments))
        named = {field: getattr(read, field) for field in given}
        return function(**named, **({_GIVEN: task} if _GIVEN in parameters else {}))

    described = " ".join((inspect.getdoc(function) or "").partition("\n\n")[0].split())
    own = getattr(function, "__name__", name.replace(":", ".").rpartition(".")[2])
    return Tool(name=own, description=described, parameters=schema, call=call)


def _untitled(schema: Any) -> Any:
    """Take away the titles that pydantic makes of names."""
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _untitled(one) for name, one in value.items()}
        if key == "properties"
        else _untitled(value)
        for key, value in schema.items()
        if key != "title"
    }


def _type(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(map(repr, schema["enum"]))
    kinds = [one.get("type", "any") for one in schema.get("anyOf", ())]
    found = schema.get("type", " | ".join(map(str, kinds)) or "any")
    return found if isinstance(found, str) else " | ".join(map(str, found))


def _default(name: str, schema: Mapping[str, Any], needed: object) -> str:
    optional = isinstance(needed, list | tuple) and name not in needed
    return f" = {schema.get('default')!r}" if optional and "default" in schema else ""
