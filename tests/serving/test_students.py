"""A student behind a real vLLM server is the student that the same model is here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from tests.serving.conftest import START_S
from tests.unit.environments.students.kinds import endpoint_settings

from atlas.data.tasks import mixed_tasks
from atlas.environments.loading import load_student
from atlas.environments.students.endpoint import EndpointStudent
from atlas.machine.shipped import model_path
from atlas.prompts.folder import shipped_prompts
from atlas.serve.interpreter import Interpreter
from atlas.serve.settings import ServerSettings
from atlas.serve.supervisor import Supervisor

PROMPTS = shipped_prompts("plain")
TASKS = mixed_tasks(("chain_sum",), 6, seed=3)
TEACHINGS = ["Add from left to right."] * 3 + [None] * 3


@pytest.fixture(scope="module")
def base_url(interpreter: Interpreter) -> Iterator[str]:
    """A server of the shipped model."""
    settings = ServerSettings(model=str(model_path("base")), port=0, dtype="float32")
    with Supervisor(settings, interpreter, ready_s=START_S) as server:
        server.wait_until_ready()
        yield f"{server.url}/v1"


def test_it_says_what_the_model_says_here(base_url: str) -> None:
    """Greedily, in float32; the same texts in as many tokens, and cut where it is cut here."""
    here = load_student("base", max_new_tokens=24, approach_tokens=8, prompts=PROMPTS)
    config = endpoint_settings(base_url, student_concurrency=4)
    there = EndpointStudent(config, PROMPTS, max_new_tokens=24, approach_tokens=8)
    with contextlib.closing(there):
        served = there.attempt(TASKS, TEACHINGS)
        approaches = there.approach(TASKS)
        (probe,) = there.probe(TASKS, ["Add."] * len(TASKS), seed=0)
    local = here.attempt(TASKS, TEACHINGS)
    assert [one.text for one in served] == [one.text for one in local]
    assert [one.num_tokens for one in served] == [one.num_tokens for one in local]
    assert [one.finished for one in served] == [one.finished for one in local]
    assert {one.finished for one in served} == {True, False}
    assert [one.text for one in approaches] == [one.text for one in here.approach(TASKS)]
    (by_here,) = here.probe(TASKS, ["Add."] * len(TASKS), seed=0)
    assert probe.lengths == by_here.lengths
