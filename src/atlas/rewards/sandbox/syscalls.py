"""The kernel's list of what a jailed process may ask for; everything else is refused.

A seccomp filter with an allow-list: computing, memory, clocks, reading and writing what is open
already. Not in it: opening a file, sockets, new processes or threads, signals to others. It needs
no privileges, holds for all that the process does by whatever means, and can't be taken off.
"""

from __future__ import annotations

import ctypes
import platform
import struct
import sys

_X86 = {
    **{"read": 0, "write": 1, "close": 3, "fstat": 5, "poll": 7, "lseek": 8, "mmap": 9},
    **{"mprotect": 10, "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14},
    **{"rt_sigreturn": 15, "select": 23, "sched_yield": 24, "mremap": 25, "madvise": 28},
    **{"nanosleep": 35, "getpid": 39, "exit": 60, "gettimeofday": 96, "getrusage": 98},
    **{"times": 100, "sigaltstack": 131, "gettid": 186, "time": 201, "futex": 202},
    **{"restart_syscall": 219, "clock_gettime": 228, "clock_getres": 229},
    **{"clock_nanosleep": 230, "exit_group": 231, "pselect6": 270, "ppoll": 271},
    **{"getrandom": 318, "membarrier": 324, "rseq": 334},
}
_ARM = {
    **{"close": 57, "lseek": 62, "read": 63, "write": 64, "pselect6": 72, "ppoll": 73},
    **{"fstat": 80, "exit": 93, "exit_group": 94, "futex": 98, "nanosleep": 101},
    **{"clock_gettime": 113, "clock_getres": 114, "clock_nanosleep": 115, "sched_yield": 124},
    **{"restart_syscall": 128, "sigaltstack": 132, "rt_sigaction": 134, "rt_sigprocmask": 135},
    **{"rt_sigreturn": 139, "times": 153, "getrusage": 165, "gettimeofday": 169, "getpid": 172},
    **{"gettid": 178, "brk": 214, "munmap": 215, "mremap": 216, "mmap": 222, "mprotect": 226},
    **{"madvise": 233, "getrandom": 278, "membarrier": 283, "rseq": 293},
}
_MACHINES = {"x86_64": (0xC000003E, _X86), "aarch64": (0xC00000B7, _ARM)}
"""Machine -> its number in the kernel's audit interface, and the numbers of the calls."""

_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER_AT, _MACHINE_AT = 0, 4
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050001, 0x80000000
"""Refusing answers EPERM, which Python raises as PermissionError."""
_SET_DUMPABLE, _SET_SECCOMP, _SET_NO_NEW_PRIVILEGES = 4, 22, 38
_MODE_FILTER = 2


def forbid_system_calls() -> None:
    """Install the filter on this process, for good.

    Raises:
        OSError: This system has no such filter.
    """
    machine = platform.machine()
    if sys.platform != "linux" or machine not in _MACHINES:
        raise OSError(f"no list of system calls for {sys.platform} on {machine}")
    code = _program(*_MACHINES[machine])
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in (
        # Not readable by other processes of the same user.
        (_SET_DUMPABLE, 0, 0, 0, 0),
        (_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0),
        (_SET_SECCOMP, _MODE_FILTER, ctypes.create_string_buffer(program), 0, 0),
    ):
        if libc.prctl(*call) != 0:
            raise OSError(ctypes.get_errno(), "the kernel refuses the system-call filter")


def _program(machine: int, calls: dict[str, int]) -> bytes:
    """Return the filter in the kernel's packet-filter code, 8 bytes an instruction."""
    lines = [
        (_LOAD, 0, 0, _MACHINE_AT),
        (_JUMP_EQUAL, 1, 0, machine),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    for number in sorted(calls.values()):
        lines += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    lines.append((_RETURN, 0, 0, _REFUSE))
    return b"".join(struct.pack("HBBI", *line) for line in lines)
