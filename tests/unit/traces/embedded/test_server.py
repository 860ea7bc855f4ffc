from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

import atlas
from atlas.errors import AtlasError
from atlas.traces.embedded import watch as embedded_watch
from atlas.traces.embedded.install import find_install
from atlas.traces.embedded.server import EmbeddedPostgres


@pytest.fixture
def folder() -> Iterator[Path]:
    # Outside of pytest's own folders; see the session's server in tests/conftest.py.
    base = Path(tempfile.mkdtemp(prefix="atlas-tests-"))
    yield base
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    """A data folder with one table and no running server; made once, as that takes longest."""
    base = Path(tempfile.mkdtemp(prefix="atlas-tests-"))
    with EmbeddedPostgres.start(base / "pg") as server:
        run(server.db_url, "CREATE TABLE kept (number INT)")
    yield base / "pg"
    shutil.rmtree(base, ignore_errors=True)


def run(db_url: str, statement: str) -> list[tuple]:
    with psycopg.connect(db_url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def server_pid(folder: Path) -> int:
    return int(embedded_watch.pid_lines(folder)[0])


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


USER = """
import sys, time
from atlas.traces.embedded.server import EmbeddedPostgres
import psycopg
server = EmbeddedPostgres.start(sys.argv[1])
with psycopg.connect(server.db_url, autocommit=True) as connection:
    connection.execute("INSERT INTO kept VALUES (%s)", [sys.argv[2]])
print(server.db_url, flush=True)
sys.stdin.readline()
"""


def other_process(folder: Path, number: int) -> subprocess.Popen[str]:
    """Start a process that uses the server of a folder until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", USER, folder, str(number)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(atlas.__file__).parents[1])},
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("postgresql://")
    return process


def test_data_is_there_again_at_the_next_start(data):
    with EmbeddedPostgres.start(data) as server:
        run(server.db_url, "INSERT INTO kept VALUES (1)")
        pid = server_pid(data)
    assert is_gone(pid)

    with EmbeddedPostgres.start(str(data)) as server:
        assert run(server.db_url, "SELECT 1 FROM kept WHERE number = 1") == [(1,)]


def test_after_its_user_is_killed_the_server_stops_and_starts_again(data):
    process = other_process(data, 2)
    pid = server_pid(data)
    process.kill()
    process.communicate()

    assert until(lambda: is_gone(pid))
    with EmbeddedPostgres.start(data) as server:
        assert run(server.db_url, "SELECT 1 FROM kept WHERE number = 2") == [(1,)]


KILLED_IN_A_START = """
import os, signal, sys
from atlas.traces.embedded import server

def die_when_it_is_there(folder):
    if server.embedded_watch.pid_lines(folder):
        os.kill(os.getpid(), signal.SIGKILL)

server._running = die_when_it_is_there
server.EmbeddedPostgres.start(sys.argv[1])
"""


def test_a_user_that_is_killed_in_the_middle_of_a_start_leaves_no_server(data):
    environment = {**os.environ, "PYTHONPATH": str(Path(atlas.__file__).parents[1])}
    process = subprocess.Popen([sys.executable, "-c", KILLED_IN_A_START, data], env=environment)
    pids = []
    assert until(lambda: bool(pids.extend(embedded_watch.pid_lines(data)[:1]) or pids))
    assert process.wait() == -signal.SIGKILL

    assert until(lambda: is_gone(int(pids[0])))
    with EmbeddedPostgres.start(data) as server:
        assert run(server.db_url, "SELECT 1") == [(1,)]


def test_a_server_killed_with_its_user_is_started_again_with_what_was_committed(data):
    process = other_process(data, 3)
    pid = server_pid(data)
    process.kill()
    os.kill(pid, signal.SIGKILL)
    process.communicate()

    with EmbeddedPostgres.start(data) as server:
        assert run(server.db_url, "SELECT 1 FROM kept WHERE number = 3") == [(1,)]
        assert server_pid(data) != pid


def test_a_server_killed_under_its_user_is_started_again(data):
    first = EmbeddedPostgres.start(data)
    os.kill(server_pid(data), signal.SIGKILL)
    first.close()

    with EmbeddedPostgres.start(data) as server:
        assert run(server.db_url, "SELECT 1") == [(1,)]


def test_the_number_of_a_dead_server_may_belong_to_another_process_now(data):
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        lines = [str(bystander.pid), str(data), "1", "5432", str(data), "", "1 1", "ready"]
        (data / "postmaster.pid").write_text("\n".join(lines) + "\n")
        with EmbeddedPostgres.start(data) as server:
            assert run(server.db_url, "SELECT 1") == [(1,)]
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_processes_share_a_server_and_the_last_one_stops_it(data):
    process = other_process(data, 4)
    pid = server_pid(data)
    here = EmbeddedPostgres.start(data)
    again = EmbeddedPostgres.start(data)
    assert server_pid(data) == pid

    again.close()
    process.communicate("\n")  # ends without closing, as a script does
    assert run(here.db_url, "SELECT 1 FROM kept WHERE number = 4") == [(1,)]
    here.close()
    here.close()
    assert is_gone(pid)


def test_a_server_that_somebody_else_started_is_shared_and_left_running(data):
    install = find_install().serving(data)
    command = [install.programs / "postgres", "-D", data, "-c", "listen_addresses="]
    command += ["-c", f"unix_socket_directories={data}"]
    theirs = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **install.run_as()
    )
    try:
        assert until(lambda: embedded_watch.pid_lines(data)[7:8] == ["ready   "])
        with EmbeddedPostgres.start(data) as server:
            assert run(server.db_url, "SELECT 1") == [(1,)]
            assert server_pid(data) == theirs.pid
        assert run(server.db_url, "SELECT 1") == [(1,)]
    finally:
        theirs.send_signal(signal.SIGINT)
        theirs.wait()


def test_a_forked_child_does_not_stop_its_parents_server(data):
    with EmbeddedPostgres.start(data) as server:
        child = os.fork()
        if child == 0:
            server.close()
            os._exit(0)
        os.waitpid(child, 0)
        assert run(server.db_url, "SELECT 1") == [(1,)]


@pytest.mark.parametrize("name", ["deep/" * 30 + "pg", "with 'space', \"quote\" & $HOME/pg"])
def test_any_path_will_do_for_a_folder(folder, name):
    with EmbeddedPostgres.start(folder / name) as server:
        assert run(server.db_url, "SELECT 1") == [(1,)]
        socket_folder = Path(embedded_watch.pid_lines(folder / name)[4])
        assert len(f"{socket_folder}/.s.PGSQL.5432") < 103
        assert socket_folder.stat().st_mode & 0o077 == 0
    assert not socket_folder.exists()
    assert (folder / name / "PG_VERSION").exists()


def test_nobody_but_the_owner_gets_in(data):
    with EmbeddedPostgres.start(data) as server:
        assert run(server.db_url, "SHOW listen_addresses") == [("",)]
        rules = run(server.db_url, "SELECT DISTINCT type FROM pg_hba_file_rules")
    assert rules == [("local",)]
    assert data.stat().st_mode & 0o077 == 0


def test_a_folder_half_made_by_a_killed_process_is_no_hindrance(folder):
    half = folder / ".pg.init-abc"
    half.mkdir()
    (half / "PG_VERSION").write_text("18")

    with EmbeddedPostgres.start(folder / "pg") as server:
        assert run(server.db_url, "SELECT 1") == [(1,)]
    assert not half.exists()


def make_file(path: Path) -> None:
    path.write_text("a file")


def make_full_folder(path: Path) -> None:
    path.mkdir()
    (path / "thesis.txt").write_text("keep me")


def make_old_data(path: Path) -> None:
    path.mkdir()
    (path / "PG_VERSION").write_text("9.6\n")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (make_file, "is a file"),
        (make_full_folder, "is not empty and no PostgreSQL data folder"),
        (make_old_data, r"was made by PostgreSQL 9\.6, the embedded one is \d+"),
    ],
)
def test_a_folder_that_is_something_else_is_left_alone(make, reason, folder):
    make(folder / "pg")
    before = sorted(path.name for path in folder.rglob("*"))

    with pytest.raises(AtlasError, match=rf"{folder / 'pg'} {reason}"):
        EmbeddedPostgres.start(folder / "pg")
    assert sorted(path.name for path in folder.rglob("*")) == before


def test_a_place_that_cannot_be_written_is_named():
    with pytest.raises(AtlasError, match="can't keep a PostgreSQL database in /proc/atlas/pg"):
        EmbeddedPostgres.start("/proc/atlas/pg")


def test_a_server_that_does_not_start_says_why(data):
    control = data / "global" / "pg_control"
    good = control.read_bytes()
    control.write_bytes(b"nonsense")
    try:
        with pytest.raises(AtlasError, match=r"did not start: .*pg_control"):
            EmbeddedPostgres.start(data)
    finally:
        control.write_bytes(good)


@pytest.mark.skipif(os.geteuid() != 0, reason="the server runs as another user only for root")
def test_a_folder_above_that_was_closed_is_opened_for_the_server(data: Path) -> None:
    data.parent.chmod(0o700)
    with EmbeddedPostgres.start(data) as server:
        assert run(server.db_url, "SELECT 1") == [(1,)]
    assert data.parent.stat().st_mode & 0o777 == 0o701
