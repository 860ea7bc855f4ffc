"""The middleware, called as an ASGI server calls it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from atlas.serve.inside.gate import OPEN_PATHS, TOKEN_FILE, Gate

TOKEN = "a-token"
CONTROL_PATHS = (
    "/pause",
    "/resume",
    "/collective_rpc",
    "/update_weights",
    "/init_weight_transfer_engine",
    "/reset_prefix_cache",
    "/weight_info",
    "/server_info",
    "/sleep",
    "/scale_elastic_ep",
    "/start_profile",
    "/invocations",
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
    "/v1/added/by/a/later/vllm",
    "/docs",
    "/openapi.json",
)


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    monkeypatch.setenv(TOKEN_FILE, str(file))
    return Gate(_passed)


async def _passed(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


def call(gate: Gate, path: str, *tokens: str, kind: str = "http") -> Any:
    """The status of the answer; of a websocket the code that closes it."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("the gate reads no body")

    headers = [(b"x-atlas-control-token", token.encode()) for token in tokens]
    scope = {"type": kind, "path": path, "headers": headers, "method": "POST"}
    asyncio.run(gate(scope, receive, send))
    return sent[0].get("status", sent[0].get("code"))


@pytest.mark.parametrize("path", CONTROL_PATHS)
def test_control_needs_the_token(gate: Gate, path: str) -> None:
    assert call(gate, path) == 403
    assert call(gate, path, "another") == 403
    assert call(gate, path, TOKEN, TOKEN) == 403
    assert call(gate, path, TOKEN) == 200


@pytest.mark.parametrize("path", sorted(OPEN_PATHS))
def test_serving_needs_none(gate: Gate, path: str) -> None:
    assert call(gate, path) == 200


@pytest.mark.parametrize(
    "path", ["/v1/models/../load_lora_adapter", "//pause", "/PAUSE", "/pause/", "/health/../pause"]
)
def test_other_spellings_are_closed_too(gate: Gate, path: str) -> None:
    assert call(gate, path) == 403


def test_websockets_need_the_token_everywhere(gate: Gate) -> None:
    assert call(gate, "/v1/completions", kind="websocket") == 1008
    assert call(gate, "/v1/realtime", TOKEN, kind="websocket") == 200


def test_start_and_end_of_the_server_pass(gate: Gate) -> None:
    async def run() -> list[Any]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        await gate({"type": "lifespan"}, send, send)  # type: ignore[arg-type]
        return sent

    assert asyncio.run(run())


@pytest.mark.parametrize("content", [None, "", "  \n"])
def test_nothing_is_served_without_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    monkeypatch.delenv(TOKEN_FILE, raising=False)
    if content is not None:
        (tmp_path / "token").write_text(content)
        monkeypatch.setenv(TOKEN_FILE, str(tmp_path / "token"))
    with pytest.raises(RuntimeError, match="control token"):
        Gate(_passed)
