"""Into the jail: what a fresh process gives up before it runs code that nobody has read.

In this order: namespaces of its own without a network, where the system allows them; the rights of
root; memory, time, files and processes by resource limits; and every system call that isn't
computing (`syscalls`). Only the last is essential; whether it holds is tried before code is run.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import resource
import sys

from atlas.rewards.sandbox.syscalls import forbid_system_calls

MODULES = (
    *("abc", "array", "base64", "bisect", "calendar", "cmath", "collections", "collections.abc"),
    *("colorsys", "contextlib", "copy", "dataclasses", "datetime", "decimal", "difflib", "enum"),
    *("fractions", "functools", "graphlib", "hashlib", "heapq", "inspect", "io", "itertools"),
    *("json", "keyword", "math", "numbers", "operator", "pprint", "queue", "random", "re"),
    *("secrets", "statistics", "string", "struct", "sys", "textwrap", "time", "traceback"),
    *("types", "typing", "unicodedata", "unittest", "unittest.mock", "uuid", "weakref", "zlib"),
    *("_strptime", "encodings.latin_1", "encodings.ascii", "encodings.utf_16"),
)
"""What jailed code can import: read before the jail closes, for no file can be opened in it."""

_NOBODY = 65534
_NEW_USER, _NEW_NET, _NEW_IPC, _NEW_HOST_NAME = 0x10000000, 0x40000000, 0x08000000, 0x04000000


def enter_jail(*, memory_mb: int, cpu_seconds: int) -> None:
    """Give up everything but computing.

    Args:
        memory_mb: Address space, the interpreter's own included.
        cpu_seconds: Of computing; the process is killed at that.

    Raises:
        OSError: The system can't hold this process; nothing must be run in it.
    """
    prepare_jail()
    close_jail(memory_mb=memory_mb, cpu_seconds=cpu_seconds)


def prepare_jail() -> None:
    """Do what needs files still, and what takes long: once, before processes are forked off."""
    for name in MODULES:
        importlib.import_module(name)
    _leave_namespaces()


def close_jail(*, memory_mb: int, cpu_seconds: int) -> None:
    """Give up the rest, after `prepare_jail`; arguments and errors are those of `enter_jail`."""
    sys.path.clear()
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    for limit, value in (
        (resource.RLIMIT_AS, memory_mb << 20),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        resource.setrlimit(limit, (value, value))
    forbid_system_calls()
    _try_the_door()


def _leave_namespaces() -> None:
    """Take an empty network, where that is allowed; the filter forbids sockets in any case."""
    flags = _NEW_NET | _NEW_IPC | _NEW_HOST_NAME
    libc = ctypes.CDLL(None, use_errno=True)
    libc.unshare(flags if os.geteuid() == 0 else flags | _NEW_USER)


def _try_the_door() -> None:
    """Raise OSError where a file, a socket or a process could be had after all."""
    import_socket = importlib.import_module("_socket")
    for what, attempt in (
        ("open files", lambda: os.open("/", os.O_RDONLY)),
        ("open sockets", lambda: import_socket.socket()),
        ("start processes", lambda: os.fork() or os._exit(0)),
        ("send signals", lambda: os.kill(os.getpid(), 0)),
    ):
        try:
            attempt()
        except PermissionError:
            continue
        raise OSError(f"a jailed process could still {what}")
