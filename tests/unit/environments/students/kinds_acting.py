"""Students that act: of each kind and told of their tools in each way, who look before they answer.

Alone one guesses on a hard task; with a teaching that says "look" it calls the tool, and answers
what it is told.
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from tests.unit.endpoint.chat_server import Answer, ChatServer, error, says
from tests.unit.environments.scripted import Scripted, actor
from tests.unit.environments.students.kinds import endpoint_settings
from tests.unit.tiny_models import tiny_renderer

from atlas.environments.students.endpoint import EndpointStudent
from atlas.environments.students.model import ModelStudent
from atlas.environments.students.student import Student
from atlas.environments.tools.acting import Acting
from atlas.environments.tools.tool import tool_of
from atlas.environments.tools.toolbox import Toolbox
from atlas.prompts.folder import shipped_prompts

PLAIN = shipped_prompts("plain")
TOOL_TEMPLATE = (
    "{% if tools %}<tools>{{ tools | tojson }}</tools>{% endif %}"
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<call>{{ c.function | tojson }}</call>{% endfor %}\n"
    "{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)
"""A chat template that knows tools."""


def look(box: int) -> str:
    """Look into a box."""
    return f"there are {box * 7} coins"


def acting(max_turns: int = 4) -> Acting:
    """The tool, and how it is used."""
    return Acting(Toolbox([tool_of("look", look)]), PLAIN, max_turns=max_turns)


def said(text: str) -> str:
    """Return what the student says to all that it was given."""
    if "Don't answer" in text:
        return 'Call: look {"box": 1}'
    if "14 coins" in text:
        return "Answer: 14"
    return 'I look.\nCall: look {"box": 2}' if "ook" in text.partition("Teacher:")[2] else "no idea"


def reply(request: Mapping[str, Any], number: int) -> Answer:
    """Answer as an API with tools does."""
    text = json.dumps(request["messages"])
    made = said(text)
    if "tools" not in request or "Call:" not in made:
        return says(made)
    arguments = json.loads(made.rpartition("look ")[2])
    function = {"name": "look", "arguments": json.dumps(arguments)}
    call = {"id": "x", "type": "function", "function": function}
    message = {"tool_calls": [call], "content": None}
    return says("", message=message, finish_reason="tool_calls")


def refusing_reply(request: Mapping[str, Any], number: int) -> Answer:
    """Answer as vLLM does where nobody told it how its model calls tools."""
    if "tools" in request:
        return error(400, '"auto" tool choice requires --enable-auto-tool-choice')
    return says(said(json.dumps(request["messages"])))


@cache
def tool_renderer() -> Any:
    """A model's own, whose chat template knows tools."""
    renderer = tiny_renderer()
    tokenizer = copy.deepcopy(renderer.tokenizer)
    tokenizer.chat_template = TOOL_TEMPLATE
    return replace(renderer, tokenizer=tokenizer)


@contextlib.contextmanager
def words(**keys: Any) -> Iterator[Student]:
    """Give a model whose chat template knows no tools."""
    with contextlib.closing(ModelStudent(actor(Scripted(said)), acting=acting(**keys))) as student:
        yield student


@contextlib.contextmanager
def template(**keys: Any) -> Iterator[Student]:
    """Give a model whose chat template knows tools."""
    one = replace(actor(Scripted(said)), renderer=tool_renderer())
    with contextlib.closing(ModelStudent(one, acting=acting(**keys), roles=True)) as student:
        yield student


@contextlib.contextmanager
def api(answers: Any = reply, settings: Mapping[str, Any] | None = None, **keys: Any) -> Any:
    """Give an endpoint that takes tools."""
    with ChatServer(answers) as server:
        config = endpoint_settings(server.url, **(settings or {}))
        student = EndpointStudent(config, PLAIN, max_new_tokens=50, acting=acting(**keys))
        with contextlib.closing(student):
            yield student


@contextlib.contextmanager
def refusing(**keys: Any) -> Iterator[Student]:
    """Give an endpoint that takes none."""
    with api(refusing_reply, **keys) as student:
        yield student


KINDS = {"words": words, "template": template, "api": api, "refusing": refusing}
