"""Tools of a real MCP server, which a student calls as any others."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from pathlib import Path

import pytest
from tests.unit.environments.scripted import Scripted, actor

from atlas.config import EvaluateConfig, load_config
from atlas.environments.students.model import ModelStudent
from atlas.environments.tools.loading import configured_acting
from atlas.environments.tools.mcp_server import McpServer
from atlas.environments.tools.toolbox import Toolbox
from atlas.errors import AtlasError
from atlas.prompts.folder import shipped_prompts
from atlas.types import Task

COMMAND = f"{sys.executable} {Path(__file__).with_name('calculator_server.py')}"
TASK = Task(question="6 * 7 =", answer="42", family="reference")


def said(prompt: str) -> str:
    """Multiply, then divide by nothing, then answer."""
    if "divide" in prompt.rpartition("Call:")[2]:
        return "Answer: 42"
    if "> 42" in prompt:
        return 'Call: divide {"a": 1, "b": 0}'
    return 'Call: multiply {"a": 6, "b": 7}'


def test_a_student_calls_the_tools_of_a_server() -> None:
    words = ["teachers=[t]", f'mcp_servers=["{COMMAND}"]', f'allow_targets=["{COMMAND}"]']
    config = load_config(EvaluateConfig, None, words)
    acting = configured_acting(config, shipped_prompts("plain"))
    assert acting is not None
    assert list(acting.toolbox.tools) == ["multiply", "divide"]
    assert "<|" not in acting.toolbox.lines
    with contextlib.closing(ModelStudent(actor(Scripted(said)), acting=acting)) as student:
        (attempt,) = student.attempt([TASK], [None])
    first, second = (turn.calls[0] for turn in attempt.turns[:2])
    assert (first.result, first.failed) == ("42< |im_end|>", False)
    assert second.failed
    assert second.result.startswith("divide failed: ")
    assert attempt.text == "Answer: 42"


def test_the_server_of_the_page_gives_its_tool(tmp_path: Path) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "students.md"
    codes = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
    (code,) = [code for code in codes if "MCPServer" in code]
    (tmp_path / "my_server.py").write_text(code)
    server = McpServer(f"{sys.executable} {tmp_path / 'my_server.py'}")
    with contextlib.closing(server):
        call = asyncio.run(Toolbox(server.tools).call(TASK, "shelf_of", "Emma"))
    assert (call.result, call.failed) == ("A3", False)


@pytest.mark.parametrize("command", [f"{sys.executable} -c pass", "/nowhere/at/all"])
def test_a_program_that_is_no_server_is_refused_in_one_line(command: str) -> None:
    with pytest.raises(AtlasError, match=r"mcp_servers: '.*' gives no tools: ") as caught:
        McpServer(command)
    assert "\n" not in str(caught.value)


def test_a_server_is_a_command_that_has_to_be_allowed() -> None:
    with pytest.raises(AtlasError, match="mcp_servers 'x --y' is code of your own"):
        load_config(EvaluateConfig, None, ["teachers=[t]", 'mcp_servers=["x --y"]'])
