"""An embedded PostgreSQL server: a data folder -> a ``db_url``, stopped when nobody uses it.

Stage: for whoever has no server at hand, such as the quickstart. Processes that start the same
folder share one server. Each holds a shared lock on ``FOLDER.lock``, which the kernel takes away
from a process however it ends; the last one out stops the server, a small program (`watch`) where
that one was killed. The server listens on no network, only on a Unix socket in a folder that its
owner alone may enter.

A data folder may come from elsewhere. None of its settings is read: not its configuration, not who
may come in, nor what a database or a user in it is set to; a folder that insists is refused.
"""

from __future__ import annotations

import fcntl
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

from atlas.errors import AtlasError, OutageError
from atlas.run.files import open_lock, try_lock, write_atomic
from atlas.traces.embedded import watch as embedded_watch
from atlas.traces.embedded.folder import cannot_use, check_kind, check_version, refuse_what_insists
from atlas.traces.embedded.install import DATABASE_USER, Install, find_install
from atlas.traces.postgres.connection import EMBEDDED

START_TIMEOUT_S = 60.0
POLL_S = 0.02
PORT: Final = 5432
MAX_SOCKET_PATH: Final = 100
"""Bytes. The kernel's limit is 107 on Linux and 103 elsewhere."""

CLUSTER_NAME: Final = "atlas"
"""In the command line of every server that is started here, which tells it from others."""

_SETTINGS: Final = {
    # None of the folder's own.
    "config_file": os.devnull,
    "ident_file": os.devnull,
    "cluster_name": CLUSTER_NAME,
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "50",
    # Parallel workers need /dev/shm, which containers often give only 64 MB.
    "max_parallel_workers_per_gather": "0",
    "dynamic_shared_memory_type": "mmap",
    "jit": "off",
    # What would run functions of the database, or connect elsewhere, without being asked.
    "autovacuum": "off",
    "max_logical_replication_workers": "0",
}
_SESSION: Final = (
    "-c event_triggers=off -c session_preload_libraries= -c local_preload_libraries="
    " -c search_path=public"
)
"""Of a connection; stronger than what a database or a user is set to."""

_outlived: list[subprocess.Popen[Any]] = []
"""Our children that others still need; kept so that they are not reported as forgotten."""


@dataclass(frozen=True, slots=True)
class _Running:
    """What ``postmaster.pid`` says of a server that is there."""

    pid: int
    port: int
    socket_folder: str
    ready: bool
    ours: bool
    """Whether a process of Atlas started it; somebody else's is never stopped."""

    @property
    def db_url(self) -> str:
        host = quote(self.socket_folder or "localhost", safe="/")
        url = f"postgresql://{DATABASE_USER}@/postgres?host={host}&port={self.port}"
        return f"{url}&application_name={EMBEDDED}&options={quote(_SESSION)}"


class EmbeddedPostgres:
    """A running embedded server; use as a context manager or ``close`` it.

    Example:
        >>> with EmbeddedPostgres.start("runs/quickstart/pg") as server:      # doctest: +SKIP
        ...     write_sessions(server.db_url, sessions)
    """

    def __init__(self, folder: Path, server: _Running, lock: int) -> None:
        self.folder = folder
        self.db_url = server.db_url
        self._pid = server.pid
        self._socket_folder = server.socket_folder
        self._lock = lock
        self._ours = server.ours
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
        check_kind(folder)
        install = find_install()
        check_version(folder, install.major)
        install = install.serving(folder)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            lock = open_lock(folder.with_name(folder.name + ".lock"))
        except OSError as error:
            raise cannot_use(folder, error) from error
        try:
            return cls._start_locked(folder, install, lock, timeout_s)
        except OSError as error:
            os.close(lock)
            raise cannot_use(folder, error) from error
        except BaseException:
            os.close(lock)
            raise

    @classmethod
    def _start_locked(
        cls, folder: Path, install: Install, lock: int, timeout_s: float
    ) -> EmbeddedPostgres:
        """Get hold of the lock as a user of a server that is ready, starting it if need be."""
        deadline = time.monotonic() + timeout_s
        watcher: subprocess.Popen[Any] | None = None
        try:
            while time.monotonic() < deadline:
                if try_lock(lock, fcntl.LOCK_SH):
                    server = _running(folder)
                    if server is not None and server.ready:
                        user = cls(folder, server, lock)
                        user._children = [watcher] if watcher else []
                        return user
                    fcntl.flock(lock, fcntl.LOCK_UN)
                if try_lock(lock, fcntl.LOCK_EX):
                    # Nobody else starts or stops it now, and no user has it.
                    if _running(folder) is None:
                        if not (folder / "PG_VERSION").exists():
                            install.initialise(folder)
                        watcher = _launch(folder, install, deadline)
                    fcntl.flock(lock, fcntl.LOCK_UN)
                    continue
                time.sleep(POLL_S)
        finally:
            if watcher is not None:
                _release(watcher)
        raise OutageError(
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
                embedded_watch.stop(server, self._socket_folder)
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


def _is_last(lock: int) -> bool:
    """Return whether no other user is left; then nobody comes in either, until it is unlocked."""
    deadline = time.monotonic() + embedded_watch.STOP_TIMEOUT_S
    while time.monotonic() < deadline:
        if try_lock(lock, fcntl.LOCK_EX):
            return True
        if try_lock(lock, fcntl.LOCK_SH):
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
        ours=_is_ours(pid),
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


def _is_ours(pid: int) -> bool:
    """Return whether it was Atlas that started this server."""
    try:
        return f"cluster_name={CLUSTER_NAME}" in psutil.Process(pid).cmdline()
    except psutil.Error:
        return False


def _launch(folder: Path, install: Install, deadline: float) -> subprocess.Popen[Any]:
    """Start the server and wait until it lets connections in; return the program that watches it.

    That one stops the server as soon as its input is closed and no lock is held.
    """
    refuse_what_insists(folder)
    _clear_away(folder, deadline)
    install.open_way(folder)  # a folder above may have been closed since the data was made
    socket_folder = _socket_folder(folder, install)
    entrance = folder / "pg_hba.atlas.conf"
    write_atomic(entrance, "local all all trust\n")  # the socket's folder is its owner's alone
    settings = {
        **_SETTINGS,
        "hba_file": str(entrance),
        "unix_socket_directories": str(socket_folder),
    }
    arguments = [item for name, value in settings.items() for item in ("-c", f"{name}={value}")]
    lock_file = folder.with_name(folder.name + ".lock")
    owner = ":".join(map(str, install.owner or ()))
    command = [sys.executable, "-I", "-S", embedded_watch.__file__, lock_file, folder, owner]
    command += [socket_folder, install.programs / "postgres", "-D", folder, *arguments]
    log_file = folder / "server.log"
    with open(log_file, "wb") as log:
        watcher = subprocess.Popen(
            command,
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that Ctrl-C in a terminal doesn't reach it
        )
    try:
        while not ((server := _running(folder)) and server.ours and server.ready):
            if watcher.poll() is not None:
                reason = _last(log_file)
                raise OutageError(f"the PostgreSQL server of {folder} did not start: {reason}")
            if time.monotonic() > deadline:
                raise OutageError(
                    f"the PostgreSQL server of {folder} starts too slowly: see {log_file}"
                )
            time.sleep(POLL_S)
    except BaseException:
        _release(watcher)
        raise
    return watcher


def _release(watcher: subprocess.Popen[Any]) -> None:
    """Have the server stopped as soon as no lock is held; this may be after our own end."""
    if watcher.stdin is not None:
        watcher.stdin.close()
    _outlived.append(watcher)


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
