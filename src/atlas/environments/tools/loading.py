"""The configured tools: those that ship, functions of the user's, those of MCP servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from atlas.config.grammar.own_code import load_own
from atlas.config.parts.student import StudentConfig
from atlas.environments.tools.acting import Acting
from atlas.environments.tools.mcp_server import McpServer
from atlas.environments.tools.sql import sql_tool
from atlas.environments.tools.tool import Tool, tool_of
from atlas.environments.tools.toolbox import Toolbox
from atlas.prompts import Prompts

_SHIPPED: dict[str, Callable[[], Tool]] = {"sql": sql_tool}


def configured_acting(config: StudentConfig, prompts: Prompts) -> Acting | None:
    """Return how the student acts with the tools that it is given; None where it has none.

    Args:
        config: Names the tools, and how long and how often they may be used.
        prompts: That the student reads.

    Raises:
        AtlasError: A function isn't allowed or can't be a tool, a server doesn't start, or two
            tools have one name.
    """
    if not config.has_tools:
        return None
    allowed = config.allow_targets or ()
    tools = [_tool(name, allowed) for name in config.tools or ()]
    servers: list[McpServer] = []
    try:
        for command in config.mcp_servers or ():
            servers.append(McpServer(command))
            tools += servers[-1].tools
        toolbox = Toolbox(
            tools,
            timeout_s=config.tool_timeout_s,
            max_chars=config.tool_max_chars,
            opened=[server.close for server in servers],
        )
    except BaseException:
        for server in servers:
            server.close()
        raise
    return Acting(toolbox, prompts, max_turns=config.max_turns)


def _tool(name: str, allowed: tuple[str, ...]) -> Tool:
    if name in _SHIPPED:
        return _SHIPPED[name]()
    found: Any = load_own("tools", name, allowed)
    return found() if isinstance(found, type) else tool_of(name, found)
