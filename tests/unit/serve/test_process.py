"""A server as a process, with a small program in the place of vLLM."""

from __future__ import annotations

import os
import re
import socket
import time
from pathlib import Path

import pytest
from tests.unit.serve.fake_server import fake_interpreter

from atlas.errors import AtlasError
from atlas.serve.process import ServerProcess
from atlas.serve.settings import ServerSettings


def start(folder: Path, fake: str = "") -> ServerProcess:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = {"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(folder), "FAKE": fake}
    settings = ServerSettings(model="tiny", port=port)
    return ServerProcess(settings, fake_interpreter(folder), environ=environ)


def gone(pid: int) -> bool:
    """Whether a process has ended, at most a second after it was killed."""
    for _ in range(100):
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.01)
    return False


def test_started_answers_stopped(tmp_path: Path) -> None:
    with start(tmp_path) as server:
        server.wait_until_ready(30)
        assert server.returncode is None
        assert server.token_file.exists()
        assert f"serving for pid {server.pid}" in server.tail()
        code = server._code
    assert gone(server.pid)
    assert not server.token_file.exists()
    assert not code.exists()
    assert server.stop() == server.returncode == -15


def test_a_server_that_dies_says_why(tmp_path: Path) -> None:
    with start(tmp_path, "dies") as server, pytest.raises(AtlasError) as caught:
        server.wait_until_ready(30)
    assert "ended with exit code 3 before it was ready (ValueError: no room left)" in str(
        caught.value
    )
    assert str(caught.value).endswith("EngineDeadError: dead")


def test_a_server_that_is_never_ready_ends_the_wait(tmp_path: Path) -> None:
    with (
        start(tmp_path, "never-ready") as server,
        pytest.raises(AtlasError, match="isn't ready after 0"),
    ):
        server.wait_until_ready(0.5)


def test_a_stubborn_server_and_its_child_are_killed(tmp_path: Path) -> None:
    server = start(tmp_path, "stubborn child")
    server.wait_until_ready(30)
    child = int(re.findall(r"child (\d+)", server.tail())[0])
    assert not gone(child)
    assert server.stop(0.3) == -9
    assert gone(server.pid)
    assert gone(child)


def test_a_child_of_a_server_that_was_killed_is_stopped_too(tmp_path: Path) -> None:
    server = start(tmp_path, "child")
    server.wait_until_ready(30)
    child = int(re.findall(r"child (\d+)", server.tail())[0])
    os.kill(server.pid, 9)
    assert gone(server.pid)
    server.stop()
    assert gone(child)


def test_the_code_that_a_server_sees_is_this_package_alone(tmp_path: Path) -> None:
    with start(tmp_path) as server:
        names = sorted(path.name for path in server._code.iterdir())
        assert names == ["atlas", "atlas_serving-0.dist-info"]
        assert (server._code / "atlas" / "serve" / "inside" / "gate.py").exists()
