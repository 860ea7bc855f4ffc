"""Starts an embedded PostgreSQL server, and stops it once nobody uses it, however its users ended.

Run as a program of its own by ``server``, standard library only:
``watch.py LOCK_FILE DATA_FOLDER UID:GID SOCKET_FOLDER PROGRAM ARGUMENT…``. Who starts it holds its
standard input open until it has a shared lock on LOCK_FILE, as every user of the server has; the
kernel takes both away even from a killed process. Who gets the lock exclusively knows that there
are no users left. The server is a child of this program, so no moment is too early for a kill.

The data may come from elsewhere, and a data folder can hold code of many kinds (functions,
triggers, libraries). So the kernel is asked (Landlock) to let the server run no program but its
own, write nothing but its folders, and open no connection.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

SOCKET_FOLDER_PREFIX = "atlas-pg-"
STOP_TIMEOUT_S = 60.0
POLL_S = 0.02
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", "HOME": "/"}

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""Landlock's system calls; the same numbers on every machine."""
_SET_NO_NEW_PRIVILEGES = 38
_EXECUTE, _WRITE = 1 << 0, 1 << 1
_CHANGES = _WRITE | sum(1 << right for right in range(4, 13))
"""Writing, removing and making of every kind; reading is left alone."""


class Server:
    """A running server, and never another process that gets its number after it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._handle: int | None = None
        if hasattr(os, "pidfd_open"):
            with suppress(OSError):
                self._handle = os.pidfd_open(pid)

    def interrupt(self) -> None:
        """Ask for a fast shutdown."""
        if self._handle is None:
            os.kill(self.pid, signal.SIGINT)
        else:
            signal.pidfd_send_signal(self._handle, signal.SIGINT)

    def has_ended(self) -> bool:
        """Return whether it is gone, or a zombie where the kernel can tell."""
        if self._handle is not None:
            poll = select.poll()  # not select.select, which fails from file number 1024 on
            poll.register(self._handle, select.POLLIN)
            return bool(poll.poll(0))
        try:
            os.kill(self.pid, 0)
        except OSError:
            return True
        return False

    def release(self) -> None:
        """Let go of the process."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def pid_lines(folder: Path) -> list[str]:
    """Return the lines of ``postmaster.pid``: number, folder, start, port, socket folder, …"""
    try:
        return (folder / "postmaster.pid").read_text().splitlines()
    except OSError:
        return []


def stop(server: Server, socket_folder: str) -> None:
    """Stop the server, and wait until it has ended, 60 seconds at most."""
    with suppress(ProcessLookupError):
        if not server.has_ended():
            server.interrupt()
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while not server.has_ended() and time.monotonic() < deadline:
        time.sleep(POLL_S)
    remove_socket_folder(socket_folder)


def remove_socket_folder(path: str) -> None:
    """Remove a socket folder that was made for one server; leave any other folder alone."""
    if Path(path).name.startswith(SOCKET_FOLDER_PREFIX):
        shutil.rmtree(path, ignore_errors=True)


def confine(writable: list[str], programs: list[str]) -> bool:
    """Take from this process, and all that it starts, what a server of strange data doesn't need.

    Args:
        programs: Files and folders whose programs may be run.

    Returns:
        Whether the kernel can; nothing has changed where it can't.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, 0, 1) if sys.platform == "linux" else 0
    if version < 1:
        return False
    # Later kernels know more: moves, truncating, devices' controls; TCP; signals out of the domain.
    changes = _CHANGES | sum(
        right for since, right in ((2, 1 << 13), (3, 1 << 14), (5, 1 << 15)) if version >= since
    )
    network = 0b11 if version >= 4 else 0
    scopes = 0b11 if version >= 6 else 0
    handled = struct.pack("=QQQ", changes | _EXECUTE, network, scopes)
    size = 8 if version < 4 else 16 if version < 6 else 24
    rules = libc.syscall(_CREATE_RULESET, handled, size, 0)
    if rules < 0:
        return False
    for paths, rights in ((writable, changes), (programs, _EXECUTE)):
        for path in paths:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            right = rights if os.path.isdir(path) else rights & (_EXECUTE | _WRITE | 1 << 14)
            rule = struct.pack("=Qi", right, place)
            if libc.syscall(_ADD_RULE, rules, 1, rule, 0) != 0:
                raise OSError(ctypes.get_errno(), f"the kernel takes no rule about {path}")
            os.close(place)
    if libc.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.syscall(_RESTRICT_SELF, rules, 0):
        raise OSError(ctypes.get_errno(), "the kernel refuses to confine the server")
    os.close(rules)
    return True


def start(data_folder: str, owner: str, socket_folder: str, command: list[str]) -> subprocess.Popen:
    """Start the server, confined, as the user ``UID:GID``; empty: as we are."""
    who = {}
    if owner:
        uid, gid = map(int, owner.split(":"))
        who = {"user": uid, "group": gid, "extra_groups": []}
    wheel = str(Path(command[0]).parents[1])
    loaders = [str(path) for path in Path("/").glob("lib*/ld-*") if path.is_file()]
    writable = [data_folder, socket_folder, os.devnull]
    # A clean environment: PGDATA, PGPORT and locales of the user must not leak in.
    return subprocess.Popen(
        command,
        cwd="/",
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        # Nothing else runs in this process, so that code between fork and exec is safe.
        preexec_fn=lambda: confine(writable, [wheel, *loaders]),
        **who,
    )


def main(lock_file: str, folder: str, owner: str, socket_folder: str, *command: str) -> None:
    """Start the server, wait for the last user to go, then stop it."""
    process = start(folder, owner, socket_folder, list(command))
    server = Server(process.pid)
    # Until the one who started us has its lock or is gone; a server that ends meanwhile has failed.
    while not select.select([0], [], [], POLL_S)[0]:
        if process.poll() is not None:
            return
    with open(lock_file, "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stop(server, socket_folder)
    process.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
