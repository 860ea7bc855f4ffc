"""The policy by itself, and a supervised program in the place of vLLM that is really killed."""

from __future__ import annotations

import os
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from tests.unit.serve.fake_server import fake_interpreter

from atlas.errors import AtlasError
from atlas.serve.settings import ServerSettings
from atlas.serve.supervisor import RestartPolicy, Supervisor
from atlas.serve.token import find_token


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def supervise(folder: Path, fake: str = "", **settings: object) -> tuple[Supervisor, Clock]:
    environ = {"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(folder), "FAKE": fake}
    clock = Clock()
    return (
        Supervisor(
            ServerSettings(model="tiny", port=0),
            fake_interpreter(folder),
            policy=RestartPolicy(cooldown_s=600),
            environ=environ,
            clock=clock,
            **settings,  # type: ignore[arg-type]
        ),
        clock,
    )


def kill(server: Supervisor) -> int:
    pid = server.process.pid
    os.kill(pid, 9)
    while server.process.returncode is None:
        time.sleep(0.01)
    return pid


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def test_the_policy() -> None:
    policy = RestartPolicy(cooldown_s=600)
    assert policy.allows(1000, None)
    assert not policy.allows(1599, 1000)
    assert policy.allows(1600, 1000)


def test_a_dead_server_is_started_again_once(tmp_path: Path) -> None:
    server, clock = supervise(tmp_path)
    with server:
        server.wait_until_ready()
        first, url = kill(server), server.url
        token = find_token(url, {"XDG_RUNTIME_DIR": str(tmp_path)})
        server.wait_until_ready()
        assert server.process.pid != first
        assert server.url == url
        assert find_token(url, {"XDG_RUNTIME_DIR": str(tmp_path)}) == token
        clock.now += 599
        kill(server)
        with pytest.raises(AtlasError, match=r"ended by signal 9 599 s after it was started again"):
            server.check()


@pytest.mark.parametrize("fake", ["shares", "shares never-ready"])
def test_what_a_killed_server_had_in_shared_memory_is_removed(tmp_path: Path, fake: str) -> None:
    """Also what it made after it was ready, or before; another process's files stay."""
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("there is no /dev/shm here")
    server, clock = supervise(tmp_path, fake)
    with server:
        if fake == "shares":
            server.wait_until_ready()
        while not answers(f"{server.url}/share"):
            time.sleep(0.02)
        left = Path(f"/dev/shm/atlas-fake-{server.process.pid}")
        other = left.with_name(f"{left.name}-other")
        other.touch()
        try:
            assert left.exists()
            clock.now += 2
            assert server.check() == (fake == "shares")
            kill(server)
            assert left.exists()
            server.stop()
            assert not left.exists()
            assert other.exists()
        finally:
            left.unlink(missing_ok=True)
            other.unlink()


def test_after_the_cooldown_a_death_counts_as_the_first(tmp_path: Path) -> None:
    server, clock = supervise(tmp_path)
    with server:
        server.wait_until_ready()
        kill(server)
        server.wait_until_ready()
        clock.now += 600
        kill(server)
        server.wait_until_ready()
        assert server.process.returncode is None


def test_a_server_that_cant_start_isnt_tried_again(tmp_path: Path) -> None:
    server, _ = supervise(tmp_path, "dies")
    with server, pytest.raises(AtlasError, match=r"before it was ready .ValueError"):
        server.wait_until_ready()


def test_a_start_has_a_deadline(tmp_path: Path) -> None:
    server, clock = supervise(tmp_path, "never-ready", ready_s=30.0)
    with server:
        assert not server.check()
        clock.now += 31
        with pytest.raises(AtlasError, match="isn't ready after 30 s"):
            server.check()


def test_a_restart_on_request_counts_too(tmp_path: Path) -> None:
    server, clock = supervise(tmp_path)
    with server:
        server.wait_until_ready()
        first = server.process.pid
        server.restart()
        assert server.process.pid != first
        assert server.ready
        clock.now += 10
        with pytest.raises(AtlasError, match="10 s after it was started again"):
            server.restart()


def test_the_log_of_the_dead_one_is_kept(tmp_path: Path) -> None:
    server, _ = supervise(tmp_path, log=tmp_path / "teacher.log")
    with server:
        server.wait_until_ready()
        first = kill(server)
        server.wait_until_ready()
    assert f"pid {first}" in (tmp_path / "teacher.log.previous").read_text()
    assert f"pid {server.process.pid}" in (tmp_path / "teacher.log").read_text()
