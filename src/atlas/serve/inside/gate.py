"""ASGI middleware: whatever isn't plain serving needs the run's control token.

The list names what is open, so that an endpoint that a later vLLM adds is closed until someone
has looked at it. Generation has a key of its own, vLLM's ``--api-key``.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

TOKEN_FILE = "ATLAS_CONTROL_TOKEN_FILE"
"""The environment variable that names the file with the token."""
TOKEN_HEADER = "x-atlas-control-token"
"""Not ``Authorization``, where the key for generation goes: some requests need both."""

OPEN_PATHS = frozenset(
    {
        "/health",
        "/ping",
        "/version",
        "/load",
        "/metrics",
        "/metrics/",
        "/tokenize",
        "/detokenize",
        "/v1/models",
        "/v1/completions",
        "/v1/completions/render",
        "/v1/chat/completions",
        "/v1/chat/completions/render",
        "/v1/responses",
        "/v1/messages",
        "/v1/embeddings",
        "/inference/v1/generate",
    }
)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Gate:
    """The middleware; vLLM makes it by name.

    Args:
        app: What comes after it.

    Raises:
        RuntimeError: There is no file with a token; then nothing is served at all.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._digest = _digest(_read_token().encode())

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 403."""
        if scope["type"] not in ("http", "websocket") or self._may_pass(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await _refuse(scope["path"], send)

    def _may_pass(self, scope: Message) -> bool:
        if scope["type"] == "http" and scope["path"] in OPEN_PATHS:
            return True
        given = [value for name, value in scope["headers"] if name == TOKEN_HEADER.encode()]
        return len(given) == 1 and secrets.compare_digest(_digest(given[0]), self._digest)


def _read_token() -> str:
    path = os.environ.get(TOKEN_FILE)
    token = Path(path).read_text(encoding="ascii").strip() if path else ""
    if not token:
        raise RuntimeError(f"{TOKEN_FILE} names no file with a control token")
    return token


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


async def _refuse(path: str, send: Send) -> None:
    text = f"{path} is a control endpoint of this server: it needs the run's control token"
    body = json.dumps({"error": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})
