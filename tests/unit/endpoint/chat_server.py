"""An OpenAI-compatible endpoint on this machine that answers as a test wants it to.

As a command it is the student of ``benchmarks/students.py``, which takes a while.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

_LINES = Path(__file__).with_name("faults.jsonl").read_text(encoding="utf-8").splitlines()
FAULTS: list[dict[str, Any]] = list(map(json.loads, _LINES))
"""How endpoints fail, stall and lie, and what a call makes of it: an ``outcome``."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One HTTP response."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    held_until: threading.Event | None = None
    cut_at: int | None = None
    """Bytes after which the connection ends."""
    stall_at: int | None = None
    """Bytes after which nothing comes any more."""


def says(text: str, **choice: Any) -> Answer:
    """Return a completion with this text."""
    message = {"role": "assistant", "content": text, **choice.pop("message", {})}
    choices = [{"index": 0, "finish_reason": "stop", "message": message, **choice}]
    usage = {"prompt_tokens": 300, "completion_tokens": 60, "total_tokens": 360}
    completion = {"id": "c", "object": "chat.completion", "created": 1, "model": "judge-model"}
    return Answer(body={**completion, "choices": choices, "usage": usage})


def error(status: int, message: str, **rest: Any) -> Answer:
    """Return a refusal as endpoints write it."""
    headers = rest.pop("headers", {})
    return Answer(body={"error": {"message": message, **rest}}, status=status, headers=headers)


def fault_of(record: Mapping[str, Any]) -> Answer:
    """Return the response of a line of ``faults.jsonl``."""
    names = {field.name for field in fields(Answer)}
    given = {name: value for name, value in record.items() if name in names}
    if "repeat" in record:
        given["body"] *= record["repeat"]
    return Answer(**given)


class ChatServer:
    """The endpoint, in a thread of its own.

    Args:
        answer: Request and its number, from 0 -> response.
        models: What ``/models`` lists; None: it isn't there.
    """

    def __init__(
        self,
        answer: Callable[[dict[str, Any], int], Answer],
        models: tuple[str, ...] | None = ("judge-model",),
    ) -> None:
        self.answer = answer
        self.models = models
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.most_together = 0
        self._together = 0
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", 0)
        )
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> ChatServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
                body = await reader.readexactly(int(length[1])) if length else b""
                key = re.search(r"authorization: (.*)\r", head, re.IGNORECASE)
                self.keys.append(key[1] if key else "")
                answer = await self._respond(head, body)
                end = answer.cut_at if answer.stall_at is None else answer.stall_at
                writer.write(_written(answer)[:end])
                await writer.drain()
                if answer.stall_at is not None:
                    await asyncio.sleep(60)
                if end is not None:
                    return
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass  # the client, or the server, has had enough
        finally:
            writer.close()

    async def _respond(self, head: str, body: bytes) -> Answer:
        if head.startswith("GET"):
            if self.models is None:
                return error(404, "Not Found")
            listed = [
                {"id": m, "object": "model", "created": 1, "owned_by": "x"} for m in self.models
            ]
            return Answer(body={"object": "list", "data": listed})
        request = json.loads(body)
        answer = self.answer(request, len(self.requests))
        self.requests.append(request)
        self._together += 1
        self.most_together = max(self.most_together, self._together)
        await asyncio.sleep(answer.delay_s)
        if answer.held_until is not None:
            await asyncio.to_thread(answer.held_until.wait, 20)
        self._together -= 1
        return answer


def _written(answer: Answer) -> bytes:
    text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
    content = text.encode()
    lines = [f"HTTP/1.1 {answer.status} X", "content-type: application/json"]
    lines += [f"content-length: {len(content)}", *(f"{k}: {v}" for k, v in answer.headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + content


def main() -> None:
    """Serve until the standard input ends, each answer after so many seconds; say the address."""
    delay_s = float(sys.argv[1])
    with ChatServer(lambda *_: Answer(body=says("Answer: 14").body, delay_s=delay_s)) as server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
