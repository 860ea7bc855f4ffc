"""The agents of docs/students.md that others' frameworks run."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.environments.students.page import from_page

from atlas.types import Task

TASK = Task(question="2 + 2 =", answer="4", family="reference")


@pytest.mark.parametrize("framework", ["langgraph", "agents", "pydantic_ai"])
def test_an_agent_of_a_framework_is_a_student(
    framework: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imports = "from langchain_openai import" if framework == "langgraph" else f"from {framework} "
    with from_page(imports, tmp_path, monkeypatch) as (student, server):
        alone, taught = student.attempt([TASK, TASK], [None, "Add."])
    assert [one.abstained for one in (alone, taught)] == ["", ""]
    assert (taught.text, taught.num_tokens) == ("Answer: 4", 60)
    said = [str(request["messages"]) for request in server.requests]
    assert sorted("A teacher says: Add." in text for text in said) == [False, True]
