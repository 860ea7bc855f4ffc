"""A server of the Model Context Protocol over stdio: its tools, as any others.

The server runs for as long as the student does, in a task of its own: what opened it has to close
it, too. Its standard error goes to ours.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Mapping
from concurrent.futures import Future
from importlib import import_module
from typing import Any

from atlas.environments.tools.quoting import neutral, neutral_words
from atlas.environments.tools.tool import Tool
from atlas.errors import AtlasError, reason_of
from atlas.machine.background_loop import BackgroundLoop
from atlas.masking import mask_secrets
from atlas.types import Task

START_S = 60.0
"""That a server may take to start and say what it has."""


class McpServer:
    """One server.

    Args:
        command: Its command line; no shell reads it.

    Raises:
        AtlasError: It can't be started, or doesn't speak the protocol.
    """

    def __init__(self, command: str) -> None:
        self._command = command
        self._loop = BackgroundLoop("mcp")
        self._session: Any = None
        self._ready: Future[list[Any]] = Future()
        self._running = self._loop.submit(self._serve())
        try:
            self.tools = list(map(self._tool, self._ready.result(START_S)))
        except BaseException as error:
            self.close()
            if isinstance(error, Exception):
                raise AtlasError(
                    f"mcp_servers: '{mask_secrets(command)}' gives no tools: {_reason(error)}"
                ) from error
            raise

    def close(self) -> None:
        """Stop the server; a second call does nothing."""
        self._running.cancel()
        self._loop.close()

    async def _serve(self) -> None:
        try:
            mcp: Any = import_module("mcp")  # an extra
            program, *arguments = shlex.split(self._command)
            parameters = mcp.StdioServerParameters(command=program, args=arguments)
            async with (
                mcp.stdio_client(parameters) as (read, write),
                mcp.ClientSession(read, write) as session,
            ):
                await session.initialize()
                found = await session.list_tools()
                self._session = session
                self._ready.set_result(list(found.tools))
                await asyncio.Event().wait()  # until it is cancelled
        except BaseException as error:
            if not self._ready.done():
                self._ready.set_exception(error)
            raise

    def _tool(self, found: Any) -> Tool:
        async def call(arguments: Mapping[str, Any], task: Task) -> str:
            del task
            answer = self._loop.submit(self._session.call_tool(found.name, dict(arguments)))
            return _text(await asyncio.wrap_future(answer))

        schema = getattr(found, "input_schema", None) or found.inputSchema
        return Tool(
            name=found.name,
            description=neutral(" ".join((found.description or "").split())),
            parameters=neutral_words(schema),
            call=call,
        )


def _text(answer: Any) -> str:
    """Return what a server says; what is no text, as a picture, is named.

    Raises:
        RuntimeError: It says that the call failed.
    """
    parts = [getattr(part, "text", None) or f"({part.type})" for part in answer.content]
    text = "\n".join(parts)
    if getattr(answer, "is_error", None) or getattr(answer, "isError", None):
        raise RuntimeError(text)
    return text


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, TimeoutError):
        return f"it said nothing within {START_S:g} s"
    return mask_secrets(reason_of(error))
