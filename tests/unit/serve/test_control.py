"""What is asked of a server in which order, and what an error leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from atlas.serve.connection import ControlError
from atlas.serve.control import ControlClient

UPDATE = ["/pause?mode=wait", "load", "/reset_prefix_cache", "/update_weight_version", "/resume"]


class Recorder:
    """A connection that notes the calls, and fails at one of them."""

    url = "http://127.0.0.1:8000"

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.bodies: dict[str, Any] = {}
        self.fails_at = ""
        self.cache_is_free = True
        self.states = [{"version": 3}]

    def post(self, path: str, body: Any = None, *, phase: str, deadline_s: float) -> Any:
        self.calls.append(path)
        self.bodies[path] = body
        if path == self.fails_at:
            raise ControlError(f"{phase}: no", phase=phase)
        return {"success": self.cache_is_free}

    def workers(self, method: str, *arguments: Any, phase: str, deadline_s: float) -> Any:
        if method == "atlas_state":
            return self.states
        self.calls.append(method)
        return self.states if method == "atlas_load_adapter" else [{}]


class OneWay:
    """A way that only notes that it was gone."""

    def send(self, connection: Any, tensors: Any, version: int, deadline_s: float) -> None:
        connection.post("load", list(tensors), phase="transfer of weights", deadline_s=deadline_s)

    def close(self) -> None:
        pass


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> tuple[ControlClient, Recorder]:
    recorder = Recorder()
    monkeypatch.setattr("atlas.serve.control.Connection", lambda *args, **named: recorder)
    return ControlClient("http://127.0.0.1:8000", "token", way=OneWay()), recorder


Made = tuple[ControlClient, Recorder]


def test_an_update_is_whole_before_anybody_generates(made: Made) -> None:
    client, recorder = made
    client.update_weights([("a", torch.zeros(1))], 7)
    assert recorder.calls == UPDATE
    assert recorder.bodies["/update_weight_version"] == {"new_version": "7"}


def test_an_adapter_too(made: Made, tmp_path: Path) -> None:
    """The first is loaded by vLLM, later ones take its place in the workers."""
    client, recorder = made
    # Requests that are kept hold blocks of the old weights, which go too.
    reset = "/reset_prefix_cache?reset_running_requests=true"
    recorder.states = [{"loaded": False}]
    client.load_adapter(tmp_path, 8, in_flight="keep")
    load = ["/v1/unload_lora_adapter", "/v1/load_lora_adapter"]
    first = ["atlas_load_adapter", *load, "atlas_keep_adapter"]
    assert recorder.calls == ["/pause?mode=keep", *first, reset, *UPDATE[3:]]
    assert recorder.bodies["/v1/load_lora_adapter"] == {
        "lora_name": "policy",
        "lora_path": str(tmp_path),
    }
    recorder.calls.clear()
    recorder.states = [{"loaded": True}]
    client.load_adapter(tmp_path, 9, in_flight="keep")
    assert recorder.calls == ["/pause?mode=keep", "atlas_load_adapter", reset, *UPDATE[3:]]


@pytest.mark.parametrize("place", range(1, 5))
def test_after_an_error_generation_goes_on_and_the_error_is_the_first(
    made: Made, place: int
) -> None:
    client, recorder = made
    recorder.fails_at = UPDATE[place]
    with pytest.raises(ControlError, match=r"no$"):
        client.update_weights([], 7)
    assert recorder.calls == [*UPDATE[: place + 1], *(["/resume"] if place < 4 else [])]


def test_a_cache_that_is_still_held_is_an_error(made: Made) -> None:
    client, recorder = made
    recorder.cache_is_free = False
    with pytest.raises(ControlError, match="still holds blocks"):
        client.reset_prefix_cache()


def test_workers_that_disagree_have_no_version(made: Made) -> None:
    client, recorder = made
    assert client.version() == 3
    recorder.states = [{"version": 3}, {"version": 4}]
    assert client.version() is None
