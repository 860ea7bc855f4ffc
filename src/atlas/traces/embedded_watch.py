"""Stops an embedded PostgreSQL server once nobody uses it any more, however its users ended.

Run as a program of its own by ``embedded``, standard library only:
``embedded_watch.py LOCK_FILE DATA_FOLDER PID``. Every user of the server holds a shared lock on
LOCK_FILE, which the kernel takes away even from a killed process; who gets it exclusively knows
that there are none left.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

SOCKET_FOLDER_PREFIX = "atlas-pg-"
STOP_TIMEOUT_S = 60.0
POLL_S = 0.02


def interrupter(pid: int) -> Callable[[], None]:
    """Return what asks a server for a fast shutdown, never another process that got its number."""
    if hasattr(os, "pidfd_open") and hasattr(signal, "pidfd_send_signal"):
        with suppress(OSError):
            handle = os.pidfd_open(pid)
            return lambda: signal.pidfd_send_signal(handle, signal.SIGINT)
    return lambda: os.kill(pid, signal.SIGINT)


def pid_lines(folder: Path) -> list[str]:
    """Return the lines of ``postmaster.pid``: number, folder, start, port, socket folder, …"""
    try:
        return (folder / "postmaster.pid").read_text().splitlines()
    except OSError:
        return []


def owns(folder: Path, pid: int) -> bool:
    """Return whether the data folder says that this process is its server."""
    return pid_lines(folder)[:1] == [str(pid)]


def stop(folder: Path, pid: int, interrupt: Callable[[], None]) -> None:
    """Ask the server to stop and wait until it has, 60 seconds at most."""
    lines = pid_lines(folder)
    try:
        interrupt()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while owns(folder, pid) and time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(POLL_S)
    except OSError:
        return  # it was gone already
    if len(lines) > 4:
        remove_socket_folder(lines[4])


def remove_socket_folder(path: str) -> None:
    """Remove a socket folder that was made for one server; leave any other folder alone."""
    if Path(path).name.startswith(SOCKET_FOLDER_PREFIX):
        shutil.rmtree(path, ignore_errors=True)


def main(lock_file: str, data_folder: str, pid_text: str) -> None:
    """Wait for the last user to go, then stop the server if it still is the one we watch."""
    folder, pid = Path(data_folder), int(pid_text)
    interrupt = interrupter(pid)
    with open(lock_file, "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if owns(folder, pid):
            stop(folder, pid, interrupt)


if __name__ == "__main__":
    main(*sys.argv[1:])
