"""Whether a hub answers, asked of sockets of this machine."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from atlas.machine import hub


@pytest.fixture(autouse=True)
def asked_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in hub._PROXIES:
        monkeypatch.delenv(name, raising=False)
    hub.connects.cache_clear()
    yield
    hub.connects.cache_clear()


def test_a_port_that_listens_answers_and_a_closed_one_does_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        open_hub = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert hub.hub_answers(open_hub)
    hub.connects.cache_clear()
    assert not hub.hub_answers(open_hub)


def test_a_proxy_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    assert hub.hub_answers("http://127.0.0.1:9")


def test_a_folder_never_asks_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert hub.local_files_only(tmp_path)
    assert hub.local_files_only("some/model")
    with socket.create_server(("127.0.0.1", 0)) as server:
        answering = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(hub.constants, "ENDPOINT", answering)
        assert not hub.local_files_only("some/model")
