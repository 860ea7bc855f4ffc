"""Tools, called: whatever goes wrong with a call, the student is told in one line, and goes on.

Input: a name and arguments as a student wrote them. Output: a `ToolCall` with what it is told.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from atlas.environments.tools.quoting import neutral, shortened
from atlas.environments.tools.tool import Tool
from atlas.errors import AtlasError, reason_of
from atlas.json_file import json_value
from atlas.masking import mask_secrets
from atlas.rewards.verifiers.json_schema import schema_fault
from atlas.types import Task, ToolCall

_NAME = re.compile(r"[A-Za-z_][\w-]{0,63}", re.ASCII)
_MOST_STALLED = 64
"""Calls of functions that were given up and still run, until no more are begun."""


class _Fails(Exception):
    """A call has no result, for a reason that the student is told."""


class Toolbox:
    """The tools of one student.

    Args:
        tools: With names of their own.
        timeout_s: That one call may take.
        max_chars: Of a result; the student sees the beginning of a longer one.
        opened: What has to be closed in the end.

    Raises:
        AtlasError: Two have the same name, or one has a name that no API takes.
    """

    def __init__(
        self,
        tools: Iterable[Tool],
        *,
        timeout_s: float = 10.0,
        max_chars: int = 2000,
        opened: Iterable[Callable[[], None]] = (),
    ) -> None:
        self.tools: dict[str, Tool] = {}
        self.timeout_s, self._max_chars = timeout_s, max_chars
        self._opened, self._stalled = list(opened), 0
        for tool in tools:
            if not _NAME.fullmatch(tool.name):
                raise AtlasError(
                    f"tools: '{tool.name}' is no name of a tool; use letters, digits, - and _"
                )
            if tool.name in self.tools:
                raise AtlasError(f"tools: two are called '{tool.name}'; rename one")
            self.tools[tool.name] = tool

    @property
    def specs(self) -> list[dict[str, Any]]:
        """What an API, or a chat template, is told of them."""
        return [tool.spec for tool in self.tools.values()]

    @property
    def lines(self) -> str:
        """What a student is told of them in words."""
        return "\n".join(f"- {tool.line}" for tool in self.tools.values())

    async def call(self, task: Task, name: str, arguments: str) -> ToolCall:
        """Return what came of a call.

        Args:
            task: That the student works on; tools don't see its answer either.
            name: As the student wrote it; likewise ``arguments``.

        Raises:
            AtlasError: A tool can't work for anybody, as a database that doesn't start.
        """
        try:
            tool = self._find(name)
            given = await self._checked(tool, arguments)
            said = await self._result(tool, given, task)
        except _Fails as error:
            return ToolCall(name=name, arguments=arguments, result=neutral(str(error)), failed=True)
        return ToolCall(name=name, arguments=json.dumps(given), result=said)

    def close(self) -> None:
        """Close what was opened for the tools."""
        for close in self._opened:
            close()

    def _find(self, name: str) -> Tool:
        if name not in self.tools:
            known = ", ".join(self.tools)
            raise _Fails(f"there is no tool {ascii(name)[:80]}; there are: {known}")
        return self.tools[name]

    async def _checked(self, tool: Tool, arguments: str) -> dict[str, Any]:
        try:
            given: Any = json_value(arguments.strip() or "{}", object, strict=False)
        except ValueError as error:
            if tool.only_text is None:
                raise _Fails(f"the arguments of {tool.name} aren't JSON: {error}") from error
            given = {tool.only_text: arguments.strip()}
        if tool.only_text and isinstance(given, str):
            given = {tool.only_text: given}
        try:
            fault = await asyncio.to_thread(schema_fault, tool.parameters, given)
        except ValueError as error:
            raise _Fails(f"the schema of {tool.name} {error}") from error
        if fault or not isinstance(given, dict):
            raise _Fails(f"the arguments of {tool.name} don't fit: {fault or 'no object'}")
        return given

    async def _result(self, tool: Tool, given: Mapping[str, Any], task: Task) -> str:
        seconds = self.timeout_s
        clock = asyncio.timeout(seconds)
        try:
            async with clock:
                found = await self._called(tool, given, task)
                if inspect.isawaitable(found):
                    found = await found
            text = found if isinstance(found, str) else json.dumps(found, default=str)
            return shortened(neutral(text), self._max_chars)
        except (AtlasError, _Fails):
            raise
        # sys.exit() of a tool would end the run as if it were done.
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            own = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and (own is None or own.cancelling()):
                raise  # it is the run that stops
            if clock.expired():
                raise _Fails(f"{tool.name} gave no answer within {seconds:g} s") from error
            raise _Fails(f"{tool.name} failed: {mask_secrets(reason_of(error))}") from error

    async def _called(self, tool: Tool, given: Mapping[str, Any], task: Task) -> Any:
        """Call a tool; one that isn't async in a thread of its own, which may never come back."""
        if inspect.iscoroutinefunction(tool.call):
            return tool.call(given, task)
        if self._stalled >= _MOST_STALLED:
            raise _Fails(f"{tool.name} is still busy with earlier calls")
        loop, done = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()

        def settle(found: Any, error: BaseException | None) -> None:
            self._stalled -= 1
            if done.cancelled():
                return
            if error is None:
                done.set_result(found)
            else:
                done.set_exception(error)

        def work() -> None:
            found, failed = None, None
            try:
                found = tool.call(given, task)
            except (Exception, SystemExit) as error:
                # A future holds no StopIteration, and SystemExit would end the thread's loop.
                stops = isinstance(error, StopIteration | SystemExit)
                failed = RuntimeError(type(error).__name__) if stops else error
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(settle, found, failed)

        self._stalled += 1
        threading.Thread(target=work, name=f"atlas-tool-{tool.name}", daemon=True).start()
        return await done
