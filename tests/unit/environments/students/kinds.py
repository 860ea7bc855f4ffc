"""One student of each kind, who answer the same: what the contract is tried on.

It is right with a teaching that says "multiply", and on easy tasks; it abstains where a test wants
it to.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.unit.endpoint.chat_server import Answer, ChatServer, error, says
from tests.unit.environments.scripted import Scripted, actor

from atlas.config.evaluate import EvaluateConfig
from atlas.environments.students.agent import AgentStudent
from atlas.environments.students.endpoint import EndpointStudent
from atlas.environments.students.model import ModelStudent
from atlas.environments.students.student import Student
from atlas.prompts.folder import shipped_prompts
from atlas.types import Attempt, Task

DOWN = "the service is down"
"""A task that says so isn't answered by a student elsewhere."""


def said(text: str) -> str:
    """Return what the student says to a prompt, or to a task with its teaching."""
    if "how will you" in text or "How will you" in text:
        return "I go from left to right."
    return "Answer: 14" if "ultiply" in text or "easy" in text else "no idea"


def settings(**keys: Any) -> EvaluateConfig:
    """Return a configuration with these keys."""
    return EvaluateConfig(teachers=("t",), **keys)


def endpoint_settings(url: str, **keys: Any) -> EvaluateConfig:
    """Return the configuration of an endpoint that is asked once, and keeps nothing."""
    once = {"student_model": None, "student_cache_path": None, "student_max_retries": 0}
    return settings(student="endpoint", student_base_url=url, **{**once, **keys})


def reply(request: Mapping[str, Any], number: int) -> Answer:
    """Return the endpoint's answer."""
    text = request["messages"][-1]["content"]
    return error(503, "down") if DOWN in text else says(said(text))


async def answer(task: Task, teaching: str | None) -> str | Attempt:
    """The agent."""
    await asyncio.sleep(0)
    if DOWN in task.question:
        raise ConnectionError(DOWN)
    return Attempt(text=said(f"{task.question} {teaching or ''}"), num_tokens=60)


@contextlib.contextmanager
def model(folder: Path) -> Iterator[Student]:
    """Give a scripted engine as a model."""
    yield ModelStudent(actor(Scripted(said)))


@contextlib.contextmanager
def endpoint(
    folder: Path, answers: Callable[..., Answer] = reply, **keys: Any
) -> Iterator[Student]:
    """Give a server on this machine."""
    with ChatServer(answers) as server:
        config = endpoint_settings(server.url, **keys)
        prompts = shipped_prompts("plain")
        student = EndpointStudent(config, prompts, max_new_tokens=50)
        with contextlib.closing(student):
            yield student


@contextlib.contextmanager
def agent(folder: Path, name: str = "", **keys: Any) -> Iterator[Student]:
    """Give the function above, or another one."""
    name = name or f"{__name__}:answer"
    config = settings(student="agent", student_function=name, allow_targets=(name,), **keys)
    with contextlib.closing(AgentStudent(config, errors=folder / "errors.jsonl")) as student:
        yield student


KINDS = {"model": model, "endpoint": endpoint, "agent": agent}
