"""The agents of docs/students.md, as a user copies them."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.endpoint.chat_server import ChatServer, says
from tests.unit.environments.students.kinds import agent

from atlas.environments.students.student import Student

PAGE = Path(__file__).resolve().parents[4] / "docs" / "students.md"
AGENTS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)


@contextlib.contextmanager
def from_page(
    imports: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Student, ChatServer]]:
    """Give the agent whose code imports something, and the endpoint of its model."""
    (code,) = [code for code in AGENTS if f"\n{imports}" in f"\n{code}"]
    (folder / "my_agent.py").write_text(code)
    monkeypatch.chdir(folder)
    monkeypatch.delitem(sys.modules, "my_agent", raising=False)
    with ChatServer(lambda *_: says("Answer: 4")) as server:
        monkeypatch.setenv("MODEL_URL", server.url)
        monkeypatch.setenv("MODEL_KEY", "k")
        with agent(folder, "my_agent:answer") as student:
            yield student, server
    sys.modules.pop("my_agent", None)
