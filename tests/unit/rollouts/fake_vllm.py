"""A server that speaks vLLM's protocol and does as a test says: what a real one won't do on cue.

It samples nothing: completion s of a prompt is the prompt's first token, s and the end.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GENERATE = "/inference/v1/generate"
END = 1


@dataclass
class FakeVLLM:
    """What it does, and what it was asked."""

    url: str = ""
    window: int = 64
    version: str = "0"
    before: Callable[[int, dict[str, Any]], int | None] = lambda number, body: None
    """Told the number of each generation and its body; a status other than None is answered."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    most_at_once: int = 0
    scale_out: bool = True
    _at_once: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def generate(self, body: dict[str, Any]) -> tuple[int, Any]:
        with self._lock:
            self.asked.append(body)
            number = len(self.asked)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            version = self.version
            status = self.before(number, body)
        finally:
            with self._lock:
                self._at_once -= 1
        if status is not None:
            return status, {"error": {"message": "as the test says"}}
        first = body["token_ids"][0]
        return 200, {
            "choices": [
                {
                    "index": index,
                    "finish_reason": "stop",
                    "token_ids": [first, index, END],
                    "logprobs": {"content": [{"logprob": -0.5}] * 3},
                    "weight_versions": [{"version": version, "start": 0, "end": 3}],
                }
                for index in reversed(range(body["sampling_params"]["n"]))
            ]
        }


@contextmanager
def fake_vllm(**settings: Any) -> Iterator[FakeVLLM]:
    """A server that runs within the block."""
    fake = FakeVLLM(**settings)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            known: dict[str, Any] = {
                "/health": {},
                "/version": {"version": "0.32.0"},
                "/v1/models": {"data": [{"id": "policy", "max_model_len": fake.window}]},
            }
            status = 405 if self.path == GENERATE and fake.scale_out else 404
            self._answer(200 if self.path in known else status, known.get(self.path, {}))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status, answer = fake.generate(body)
            if status == 0:  # hang up in the middle of it
                self.close_connection = True
                self.connection.close()
                return
            self._answer(status, answer)

        def _answer(self, status: int, answer: Any) -> None:
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()


def after(seconds: float) -> None:
    """Take so long."""
    time.sleep(seconds)
