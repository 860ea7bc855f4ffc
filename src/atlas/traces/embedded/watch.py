"""Stops an embedded PostgreSQL server once nobody uses it any more, however its users ended.

Run as a program of its own by ``embedded``, standard library only:
``embedded_watch.py LOCK_FILE DATA_FOLDER PID``. Every user of the server holds a shared lock on
LOCK_FILE, which the kernel takes away even from a killed process; who gets it exclusively knows
that there are none left.
"""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

SOCKET_FOLDER_PREFIX = "atlas-pg-"
STOP_TIMEOUT_S = 60.0
POLL_S = 0.02


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


def stop(folder: Path, server: Server) -> None:
    """Stop the server if the folder is still its own; wait until it has, 60 seconds at most."""
    lines = pid_lines(folder)
    if lines[:1] != [str(server.pid)] or server.has_ended():
        return
    with suppress(ProcessLookupError):
        server.interrupt()
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while not server.has_ended() and time.monotonic() < deadline:
        time.sleep(POLL_S)
    if len(lines) > 4:
        remove_socket_folder(lines[4])


def remove_socket_folder(path: str) -> None:
    """Remove a socket folder that was made for one server; leave any other folder alone."""
    if Path(path).name.startswith(SOCKET_FOLDER_PREFIX):
        shutil.rmtree(path, ignore_errors=True)


def main(lock_file: str, data_folder: str, pid: str) -> None:
    """Wait for the last user to go, then stop the server if it still is the one we watch."""
    server = Server(int(pid))
    with open(lock_file, "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stop(Path(data_folder), server)


if __name__ == "__main__":
    main(*sys.argv[1:])
