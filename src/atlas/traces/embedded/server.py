"""An embedded PostgreSQL server: a data folder -> a ``db_url``, stopped when nobody uses it.

Stage: for whoever has no server at hand, such as the quickstart. Processes that start the same
folder share one server. Each holds a shared lock on ``FOLDER.lock``, which the kernel takes away
from a process however it ends; the last one out stops the server, a small program
(``embedded_watch``) where that one was killed. The server listens on no network, only on a Unix
socket in a folder that its owner alone may enter.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote

import psutil

from atlas.errors import AtlasError
from atlas.traces.embedded import watch as embedded_watch
from atlas.traces.embedded.install import DATABASE_USER, Install, find_install

START_TIMEOUT_S = 60.0
POLL_S = 0.02
PORT: Final = 5432
MAX_SOCKET_PATH: Final = 100
"""Bytes. The kernel's limit is 107 on Linux and 103 elsewhere."""

_log = logging.getLogger(__name__)
_outlived: list[subprocess.Popen[Any]] = []
"""Our children that others still need; kept so that they are not reported as forgotten."""


@dataclass(frozen=True, slots=True)
class _Running:
    """What ``postmaster.pid`` says of a server that is there."""

    pid: int
    port: int
    socket_folder: str
    ready: bool

    @property
    def db_url(self) -> str:
        host = quote(self.socket_folder or "localhost", safe="/")
        return f"postgresql://{DATABASE_USER}@/postgres?host={host}&port={self.port}"


class EmbeddedPostgres:
    """A running embedded server; use as a context manager or ``close`` it.

    Example:
        >>> with EmbeddedPostgres.start("runs/quickstart/pg") as server:      # doctest: +SKIP
        ...     write_sessions(server.db_url, sessions)
    """

    def __init__(self, folder: Path, server: _Running, lock: int, *, ours: bool) -> None:
        self.folder = folder
        self.db_url = server.db_url
        self._pid = server.pid
        self._lock = lock
        self._ours = ours
        self._user_pid = os.getpid()
        self._children: list[subprocess.Popen[Any]] = []

    @classmethod
    def start(cls, folder: str | Path, *, timeout_s: float = START_TIMEOUT_S) -> EmbeddedPostgres:
        """Start the server of a data folder, or share the one that runs.

        Args:
            folder: Made where it is missing; else a PostgreSQL data folder or an empty one.
            timeout_s: How long a start, or another process's stop, may take, in seconds.

        Raises:
            AtlasError: the folder is something else, of another version, not writable or full.
        """
        if os.name != "posix":
            raise AtlasError("the embedded PostgreSQL needs Linux or macOS: give a db_url instead")
        folder = Path(folder).expanduser().resolve()
        _check_kind(folder)
        install = find_install()
        _check_version(folder, install.major)
        install = install.serving(folder)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            lock_file = folder.with_name(folder.name + ".lock")
            lock = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _cannot_use(folder, error) from error
        try:
            return cls._start_locked(folder, install, lock, timeout_s)
        except OSError as error:
            os.close(lock)
            raise _cannot_use(folder, error) from error
        except BaseException:
            os.close(lock)
            raise

    @classmethod
    def _start_locked(
        cls, folder: Path, install: Install, lock: int, timeout_s: float
    ) -> EmbeddedPostgres:
        """Get hold of the lock as a user of a server that is ready, starting it if need be."""
        deadline = time.monotonic() + timeout_s
        process: subprocess.Popen[Any] | None = None
        while time.monotonic() < deadline:
            if _try_lock(lock, fcntl.LOCK_SH):
                server = _running(folder)
                if server is not None and server.ready:
                    ours = os.pread(lock, 32, 0) == str(server.pid).encode()
                    user = cls(folder, server, lock, ours=ours)
                    if process is not None and process.pid == server.pid:
                        user._children = [process, _watch(folder, server.pid)]
                    return user
                fcntl.flock(lock, fcntl.LOCK_UN)
            if _try_lock(lock, fcntl.LOCK_EX):
                # Nobody else starts or stops it now, and no user has it.
                if _running(folder) is None:
                    if not (folder / "PG_VERSION").exists():
                        install.initialise(folder)
                    process = _launch(folder, install, deadline)
                    os.truncate(lock, 0)
                    os.pwrite(lock, str(process.pid).encode(), 0)
                fcntl.flock(lock, fcntl.LOCK_UN)
                continue
            time.sleep(POLL_S)
        raise AtlasError(
            f"the PostgreSQL server of {folder} did not get ready in {timeout_s:.0f} s: another "
            f"process uses the folder, see {folder / 'server.log'}"
        )

    def close(self) -> None:
        """Stop using the server; stop it where nobody else uses it. A second call does nothing."""
        # After a fork the child holds the parent's lock, and the parent's server.
        if self._lock < 0 or self._user_pid != os.getpid():
            return
        lock, self._lock = self._lock, -1
        try:
            fcntl.flock(lock, fcntl.LOCK_UN)
            if self._ours and _is_last(lock) and _is_server(self._pid, self.folder):
                server = embedded_watch.Server(self._pid)
                embedded_watch.stop(self.folder, server)
                server.release()
        finally:
            os.close(lock)
        for child in self._children:
            try:
                child.wait(timeout=0 if _is_server(self._pid, self.folder) else 10)
            except subprocess.TimeoutExpired:
                _outlived.append(child)

    def __enter__(self) -> EmbeddedPostgres:
        """Return the server itself."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop using the server."""
        self.close()


def _check_kind(folder: Path) -> None:
    try:
        if folder.exists() and not folder.is_dir():
            raise AtlasError(f"{folder} is a file: give a folder for the PostgreSQL data")
        is_data = (folder / "PG_VERSION").exists()
        if not is_data and folder.is_dir() and any(folder.iterdir()):
            raise AtlasError(
                f"{folder} is not empty and no PostgreSQL data folder: give another one"
            )
    except OSError as error:
        raise _cannot_use(folder, error) from error


def _check_version(folder: Path, major: int) -> None:
    try:
        found = (folder / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        return
    except OSError as error:
        raise _cannot_use(folder, error) from error
    if found != str(major):
        raise AtlasError(
            f"{folder} was made by PostgreSQL {found}, the embedded one is {major}: serve it with "
            f"PostgreSQL {found} and give its db_url, or give another folder"
        )


def _cannot_use(folder: Path, error: OSError) -> AtlasError:
    reason = error.strerror or str(error)
    place = error.filename or folder
    return AtlasError(f"can't keep a PostgreSQL database in {folder}: {reason}: {place}")


def _try_lock(lock: int, mode: int) -> bool:
    try:
        fcntl.flock(lock, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_last(lock: int) -> bool:
    """Return whether no other user is left; then nobody comes in either, until it is unlocked."""
    deadline = time.monotonic() + embedded_watch.STOP_TIMEOUT_S
    while time.monotonic() < deadline:
        if _try_lock(lock, fcntl.LOCK_EX):
            return True
        if _try_lock(lock, fcntl.LOCK_SH):
            return False
        # Neither is to be had while the watching program stops the server, as it may, too.
        time.sleep(POLL_S)
    return False


def _running(folder: Path) -> _Running | None:
    """Return the server of a folder, ready or not."""
    lines = embedded_watch.pid_lines(folder)
    if not lines or not lines[0].isdecimal():
        return None
    pid = int(lines[0])
    if not _is_server(pid, folder):
        return None
    lines += [""] * (8 - len(lines))
    return _Running(
        pid=pid,
        port=int(lines[3] or PORT),
        socket_folder=lines[4],
        ready=lines[7].strip() == "ready",
    )


def _is_server(pid: int, folder: Path) -> bool:
    """Return whether this process is the folder's PostgreSQL server and alive."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE or process.name() != "postgres":
            return False
        return Path(process.cwd()) == folder  # where a server always is
    except psutil.AccessDenied:
        return True
    except psutil.NoSuchProcess:
        return False


def _launch(folder: Path, install: Install, deadline: float) -> subprocess.Popen[Any]:
    """Start the server and wait until it lets connections in."""
    _clear_away(folder, deadline)
    install.open_way(folder)  # a folder above may have been closed since the data was made
    socket_folder = _socket_folder(folder, install)
    settings = {
        "listen_addresses": "",
        "port": str(PORT),
        "unix_socket_directories": str(socket_folder),
        "unix_socket_permissions": "0700",
        "max_connections": "50",
        # Parallel workers need /dev/shm, which containers often give only 64 MB.
        "max_parallel_workers_per_gather": "0",
        "jit": "off",
    }
    arguments = [item for name, value in settings.items() for item in ("-c", f"{name}={value}")]
    log_file = folder / "server.log"
    with open(log_file, "wb") as log:
        process = subprocess.Popen(
            [install.programs / "postgres", "-D", folder, *arguments],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that Ctrl-C in a terminal doesn't reach it
            **install.run_as(),
        )
    while True:
        server = _running(folder)
        if server is not None and server.pid == process.pid and server.ready:
            return process
        if process.poll() is not None:
            raise AtlasError(f"the PostgreSQL server of {folder} did not start: {_last(log_file)}")
        if time.monotonic() > deadline:
            process.terminate()
            process.wait()
            raise AtlasError(f"the PostgreSQL server of {folder} starts too slowly: see {log_file}")
        time.sleep(POLL_S)


def _watch(folder: Path, pid: int) -> subprocess.Popen[Any]:
    lock_file = folder.with_name(folder.name + ".lock")
    command = [sys.executable, "-I", "-S", embedded_watch.__file__, lock_file, folder, str(pid)]
    return subprocess.Popen(
        command,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _socket_folder(folder: Path, install: Install) -> Path:
    """Return a folder for the socket: the data's own, or a new one where its path won't do."""
    plain = re.fullmatch(r"[\w./-]+", str(folder), re.ASCII) is not None
    if plain and len(f"{folder}/.s.PGSQL.{PORT}") <= MAX_SOCKET_PATH:
        return folder
    base = tempfile.gettempdir()
    if len(base) > MAX_SOCKET_PATH // 2 or not re.fullmatch(r"[\w./-]+", base, re.ASCII):
        base = "/tmp"
    new = Path(tempfile.mkdtemp(prefix=embedded_watch.SOCKET_FOLDER_PREFIX, dir=base))
    install.give(new)
    return new


def _clear_away(folder: Path, deadline: float) -> None:
    """Clear away what a killed server left; the folder's own lock must be held exclusively.

    PostgreSQL would do it, unless the number of the dead server now belongs to another process
    or a zombie, which it takes for its predecessor: then it refuses to start.
    """
    lines = embedded_watch.pid_lines(folder)
    if lines:
        # Its workers see that it is gone and end, but not at once, and they still write.
        while _has_workers(folder) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        (folder / "postmaster.pid").unlink(missing_ok=True)
    if len(lines) > 4:
        embedded_watch.remove_socket_folder(lines[4])
    (folder / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)


def _has_workers(folder: Path) -> bool:
    running = (process.info for process in psutil.process_iter(["name", "cwd", "status"]))
    return any(
        info["name"] == "postgres"
        and info["cwd"] == str(folder)
        and info["status"] != psutil.STATUS_ZOMBIE
        for info in running
    )


def _last(log_file: Path) -> str:
    """Return what the server said last, its gravest word first."""
    with suppress(OSError):
        lines = log_file.read_text(errors="replace").splitlines()
        grave = [line for line in lines if "FATAL:" in line or "PANIC:" in line]
        for line in (grave or lines)[-1:]:
            return re.sub(r"^.*?(FATAL|PANIC):\s*", "", line)
    return "no reason given"
