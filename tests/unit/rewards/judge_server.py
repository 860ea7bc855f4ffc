"""An OpenAI-compatible endpoint on this machine that answers as a test wants it to.

As a command it is the judge of ``benchmarks/judges.py``: it takes a while, and fails sometimes.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

_NONCE = re.compile(r"the text ([0-9a-f]{12}),")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One HTTP response."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    held_until: threading.Event | None = None


def nonce_of(request: Mapping[str, Any]) -> str:
    """Return the nonce that a request's system message asks for."""
    found = _NONCE.search(request["messages"][0]["content"])
    assert found is not None
    return found[1]


def verdict_text(nonce: str, score: float = 0.8, uncertainty: float = 0.1, **changes: Any) -> str:
    """Return a verdict as a judge writes it."""
    principles = [{"name": "clear", "weight": 0.6}, {"name": "true", "weight": 0.4}]
    verdict = {"nonce": nonce, "principles": principles, "rationale": "Clear and true."}
    return json.dumps({**verdict, "score": score, "uncertainty": uncertainty, **changes})


def says(text: str, **choice: Any) -> Answer:
    """Return a completion with this text."""
    message = {"role": "assistant", "content": text, **choice.pop("message", {})}
    choices = [{"index": 0, "finish_reason": "stop", "message": message, **choice}]
    usage = {"prompt_tokens": 300, "completion_tokens": 60, "total_tokens": 360}
    completion = {"id": "c", "object": "chat.completion", "created": 1, "model": "judge-model"}
    return Answer(body={**completion, "choices": choices, "usage": usage})


def agree(request: Mapping[str, Any], score: float = 0.8, uncertainty: float = 0.1) -> Answer:
    """Answer a request with a verdict that counts."""
    return says(verdict_text(nonce_of(request), score, uncertainty))


def error(status: int, message: str, **rest: Any) -> Answer:
    """Return a refusal as endpoints write it."""
    headers = rest.pop("headers", {})
    return Answer(body={"error": {"message": message, **rest}}, status=status, headers=headers)


class JudgeServer:
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

    def __enter__(self) -> JudgeServer:
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
                writer.write(_written(answer))
                await writer.drain()
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
    """Serve until the standard input ends; write the address first."""
    delay_s, failure_rate = float(sys.argv[1]), float(sys.argv[2])
    rng = random.Random(0)

    def answer(request: dict[str, Any], number: int) -> Answer:
        if rng.random() < failure_rate:
            found = error(503, "overloaded")
        else:
            found = agree(request, score=round(rng.uniform(0.6, 0.8), 3))
        return Answer(body=found.body, status=found.status, delay_s=delay_s)

    with JudgeServer(answer) as server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        sys.stdin.read()
        sys.stdout.write(json.dumps({"requests": len(server.requests)}) + "\n")


if __name__ == "__main__":
    main()
