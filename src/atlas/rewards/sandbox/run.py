"""Code and its tests -> how many tests passed, without running anything unread in this process.

Two fresh Python processes are started and jailed (`jail`): one holds the code, the other the tests
(`candidate`, `checker`). They share two pipes; the report comes from the tests' process over a
third that the code's process never had. Both are killed when the time is over or all is said. The
tests are a stranger's too, and could write a report of their own: how many there are is counted
here, in their text, and a report that doesn't fit is none.
"""

from __future__ import annotations

import ast
import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.errors import AtlasError, one_line
from atlas.rewards.sandbox.candidate import READY

START_LIMIT = 60.0
"""Seconds in which two Python processes must have started; a machine may be busy."""
_LONGEST_REPORT = 1 << 16
_SOURCE = str(Path(__file__).resolve().parents[3])
_CLEAN = {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "PYTHONMALLOC": "malloc"}
_MAIN = "import sys; sys.path.insert(0, {!r}); from atlas.rewards.sandbox.{} import main; main({})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What the code may take."""

    seconds: float = 10.0
    """Of wall-clock time for code and tests together."""
    memory_mb: int = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class TestReport:
    """How the tests went."""

    __test__ = False  # no test of pytest's, in spite of the name

    passed: int
    total: int
    first: str
    """What the first failure said."""
    timed_out: bool = False
    broken: str = ""
    """Why nothing can be said: the tests themselves can't be read, or the machine gave no time."""


def run_tests(code: str, tests: str, *, entry: str | None, limits: Limits) -> TestReport:
    """Run tests against code that nobody has read.

    Args:
        code: Python; its top level is run.
        tests: Python; sees the code's public names as globals and as the module ``solution``.
        entry: The name that ``check(candidate)`` is given, where the tests define one.

    Raises:
        AtlasError: This system can't jail a process; nothing was run.
    """
    ask_read, ask_write = os.pipe()
    reply_read, reply_write = os.pipe()
    report_read, report_write = os.pipe()
    job = {"memory_mb": limits.memory_mb, "cpu_seconds": int(limits.seconds) + 1, "entry": entry}
    started: list[subprocess.Popen[bytes]] = []
    try:
        holder = _start("candidate", (ask_read, reply_write), {**job, "code": code})
        started.append(holder)
        started.append(
            _start("checker", (reply_read, ask_write, report_write), {**job, "tests": tests})
        )
        # With our ends closed, each side sees when the other ends.
        for fd in (ask_read, ask_write, reply_read, reply_write, report_write):
            os.close(fd)
        assert holder.stdout is not None
        return _wait(holder.stdout.fileno(), report_read, limits, most=_most(tests))
    finally:
        for process in started:
            _kill(process)
        os.close(report_read)


def _start(role: str, fds: tuple[int, ...], job: dict[str, Any]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        # No site-packages, no user's files, nothing written beside the source.
        [
            *(sys.executable, "-s", "-S", "-P", "-B", "-c"),
            _MAIN.format(_SOURCE, role, ", ".join(map(str, fds))),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=fds,
        env=_CLEAN,
        cwd="/",
        start_new_session=True,
    )
    assert process.stdin is not None
    try:
        with process.stdin as stdin:
            stdin.write(json.dumps(job).encode())
    except BrokenPipeError:
        pass  # it died at once; what is read from it says so
    return process


def _most(tests: str) -> int:
    """Return how many tests are written there at most: functions, methods and assertions."""
    try:
        nodes = list(ast.walk(ast.parse(tests)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return 0
    written = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    # A class of tests may be inherited from, and runs once a heir.
    classes = sum(isinstance(node, ast.ClassDef) for node in nodes)
    return 1 + len(written) * max(classes, 1)


def _wait(status_fd: int, report_fd: int, limits: Limits, *, most: int) -> TestReport:
    deadline = time.monotonic() + START_LIMIT
    status = _line(status_fd, deadline)
    ready = _line(report_fd, deadline)
    for said in (status, ready):
        if said is None:
            return _no_report(f"no jailed process within {START_LIMIT:g} s")
    said = json.loads(ready or "{}")
    if isinstance(said, dict) and "broken" in said:
        return _no_report(str(said["broken"]))
    if status != READY or said != READY:
        why = said.get("unjailed", status) if isinstance(said, dict) else status
        raise AtlasError(
            f"python_tests: this system can't jail code ({why or 'its process died'}), so nothing "
            "was run; it takes Linux with seccomp on x86-64 or ARM64"
        )
    line = _line(report_fd, time.monotonic() + limits.seconds)
    if line is None:
        first = f"took more than {limits.seconds:g} s"
        return TestReport(passed=0, total=1, first=first, timed_out=True)
    if not line:
        return TestReport(passed=0, total=1, first="the tests' process was ended")
    return _plausible(line, most)


def _plausible(line: str, most: int) -> TestReport:
    """Return what a report says, unless the tests can't have said it."""
    try:
        report = json.loads(line)
        passed, total, first = report["passed"], report["total"], report["first"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return _no_report("the report of the task's tests can't be read")
    if type(passed) is not int or type(total) is not int or not 0 <= passed <= total <= most:
        return _no_report(f"the report of the task's tests isn't of the {most} at most in it")
    return TestReport(passed=passed, total=total, first=one_line(first))


def _no_report(why: str) -> TestReport:
    return TestReport(passed=0, total=0, first="", broken=why)


def _line(fd: int, deadline: float) -> str | None:
    """Return the next line; empty at the end of the stream, None when the time is over."""
    line = b""
    while not line.endswith(b"\n") and len(line) < _LONGEST_REPORT:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([fd], [], [], left)[0]:
            return None
        piece = os.read(fd, 1)
        if not piece:
            break
        line += piece
    return line.decode(errors="replace").strip()


def _kill(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
