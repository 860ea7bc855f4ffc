"""Calls of control endpoints, against a small HTTP server that answers as it is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from atlas.errors import AtlasError
from atlas.serve.connection import (
    ADAPTER_PATH,
    Connection,
    ControlError,
    DeadlinePassed,
    ServerUnreachable,
)


class Told(BaseHTTPRequestHandler):
    """Answers with ``answers[path]``: a status and a text; remembers what it was asked."""

    answers: dict[str, tuple[int, str]]
    asked: list[tuple[str, Any, dict[str, str]]]

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length) or b"null")
        self.asked.append((self.path, body, {k.lower(): v for k, v in self.headers.items()}))
        status, text = self.answers[self.path]
        if text == "hang":
            time.sleep(0.3)
            return
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_POST

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def told() -> Iterator[tuple[str, type[Told]]]:
    handler = type("Handler", (Told,), {"answers": {}, "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()


def test_the_token_has_a_header_of_its_own(told: Any) -> None:
    url, handler = told
    handler.answers["/x"] = (200, '{"a": 1}')
    connection = Connection(f"{url}/v1", "secret", api_key="key")
    assert connection.post("/x", {"b": 2}, phase="test", deadline_s=5) == {"a": 1}
    path, body, headers = handler.asked[0]
    assert (path, body) == ("/x", {"b": 2})
    assert headers["x-atlas-control-token"] == "secret"
    assert headers["authorization"] == "Bearer key"


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        (500, '{"error": {"message": "the engine\\nis dead"}}', "answered 500: the engine is dead"),
        (400, '{"detail": "no such mode"}', "answered 400: no such mode"),
        (500, "Internal Server Error", "answered 500: Internal Server Error"),
        (403, "{}", "doesn't accept this control token"),
        (404, "{}", "has no /x: its control endpoints are closed"),
    ],
)
def test_a_refusal_names_the_phase_and_quotes_the_server(
    told: Any, status: int, text: str, expected: str
) -> None:
    url, handler = told
    handler.answers["/x"] = (status, text)
    with pytest.raises(ControlError, match=f"^pause: the server at {url} .*{expected}") as caught:
        Connection(url, "t").post("/x", phase="pause", deadline_s=5)
    assert caught.value.phase == "pause"
    assert "\n" not in str(caught.value)


def test_a_server_without_adapters_says_how_to_get_one(told: Any) -> None:
    url, handler = told
    handler.answers[ADAPTER_PATH] = (404, "{}")
    with pytest.raises(ControlError, match=r"takes no adapters; .* --max-lora-rank"):
        Connection(url, "t").post(ADAPTER_PATH, phase="load", deadline_s=5)


def test_a_hang_ends_at_the_deadline(told: Any) -> None:
    url, handler = told
    handler.answers["/x"] = (200, "hang")
    with pytest.raises(DeadlinePassed, match=r"resume: .* no answer within 0\.1 s"):
        Connection(url, "t").get("/x", phase="resume", deadline_s=0.1)


def test_nobody_there() -> None:
    with pytest.raises(ServerUnreachable, match=r"pause: nobody answers at http://127"):
        Connection("http://127.0.0.1:9", "t").post("/x", phase="pause", deadline_s=5)


def test_a_worker_that_couldnt_says_so(told: Any) -> None:
    url, handler = told
    answers = [{"version": 1}, {"error": "ValueError: no", "broken": True}]
    handler.answers["/collective_rpc"] = (200, json.dumps({"results": answers}))
    with pytest.raises(ControlError, match=r"load: .* says: ValueError: no; .* part old"):
        Connection(url, "t").workers("atlas_x", 1, "two", phase="load", deadline_s=5)
    assert handler.asked[0][1] == {"method": "atlas_x", "args": [1, "two"], "timeout": 5}


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "localhost", "ftp://host:1"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(AtlasError, match=r"address of a server is .*, which is no address"):
        Connection(url, "t")


@pytest.mark.parametrize("answer", [None, [], {}, {"results": 5}, {"results": ["x"]}])
def test_an_answer_of_another_form_is_an_error_and_no_traceback(
    answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = Connection("http://127.0.0.1:1", "token")
    monkeypatch.setattr(connection, "post", lambda *_, **__: answer)
    with pytest.raises(ControlError, match="as no server of this Atlas does"):
        connection.workers("atlas_state", phase="question", deadline_s=1.0)
