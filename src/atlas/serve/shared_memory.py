"""Files in /dev/shm that a stopped server has left, and that nobody uses any more.

A process that was killed uses its files until it is gone, which takes a moment when it is large.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

SHM = Path("/dev/shm")
PROC = Path("/proc")
_LOOK_EVERY_S = 0.02
_ZOMBIE = "Z"
"""It has given everything back, and waits to be asked how it ended."""


def shared_files(group: int) -> set[Path]:
    """Return the files in /dev/shm that the processes of a group have mapped or open."""
    return _named({inode for pid in _members(group) for inode in _inodes_of(pid)})


def wait_until_gone(group: int, deadline_s: float) -> bool:
    """Return whether no process of a group is left, after waiting for it at most so long."""
    end = time.monotonic() + deadline_s
    while any(_members(group)):
        if time.monotonic() > end:
            return False
        time.sleep(_LOOK_EVERY_S)
    return True


def leftovers(files: Iterable[Path]) -> list[Path]:
    """Return those that are still there and that no process of this user has mapped or open."""
    there = {path for path in files if path.exists()}
    if not there:
        return []
    used = _named({inode for pid in _processes() for inode in _inodes_of(pid)})
    return sorted(there - used)


def _named(inodes: set[int]) -> set[Path]:
    """Return the files with these inodes.

    Names won't do: a semaphore is mapped under one that is taken away at once, and then linked.
    """
    found = set()
    for path in SHM.iterdir() if inodes else ():
        with contextlib.suppress(OSError):
            if path.stat().st_ino in inodes:
                found.add(path)
    return found


def _processes() -> Iterator[int]:
    yield from (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())


def _members(group: int) -> Iterator[int]:
    for pid in _processes():
        with contextlib.suppress(OSError):
            # After the name in brackets, which may hold anything: state, parent, group.
            fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == group and fields[0] != _ZOMBIE:
                yield pid


def _inodes_of(pid: int) -> Iterator[int]:
    folder = PROC / str(pid)
    with contextlib.suppress(OSError):
        for line in (folder / "maps").read_text(errors="replace").splitlines():
            # Address, rights, offset, device, inode, path.
            fields = line.split(maxsplit=5)
            if len(fields) == 6 and fields[5].startswith(f"{SHM}/"):
                yield int(fields[4])
    with contextlib.suppress(OSError):
        for link in (folder / "fd").iterdir():
            with contextlib.suppress(OSError):
                if os.readlink(link).startswith(f"{SHM}/"):
                    yield link.stat().st_ino
