"""A supervisor that lets jailed forks of itself do what reads text that nobody has checked.

Run in a worker process that has imported all it needs and read no such text: a fork costs a
hundredth of a start. For every request it forks a child, which closes the jail (`jail`) and works
through the items, a line of JSON for each; while that takes long, further ones take over half of
what is left. A child that takes too long or dies is replaced, and its item alone says so; no child
outlives its request, so that nothing that one leaves behind reaches the next. What a child writes
is parsed as JSON and as nothing else::

    {"items": [...], "cpu_seconds": 5.0, "children": 2}
    {"results": [{"value": 1.0}, {"failed": "ValueError: ..."}, {"starved": "..."}]}
"""

from __future__ import annotations

import ctypes
import gc
import json
import logging
import math
import os
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from atlas.rewards.sandbox.candidate import SilentStream
from atlas.rewards.sandbox.jail import close_jail, prepare_jail

WALL_SECONDS = 60.0
"""For one item, from start to answer: a machine that is this busy says nothing about the item."""
_MEMORY_MB = 1024
"""Of address space for each child, beside what the supervisor has already."""
_LONGEST_LINE = 1 << 16
_SHOWN = 200
_LOOK = 0.05
"""Seconds between looks at how much time the children took."""
_WORTH = 0.1
"""Seconds of waiting that a further child is worth: its start costs a fifth of that."""
_PAUSE = 0.002
"""Seconds in which lines gather: to be woken for each costs more than to score most answers."""
_SET_DEATH_SIGNAL = 1
_READY = b"ready"

Result: TypeAlias = dict[str, Any]
Work: TypeAlias = Callable[[Any], Any]


class CannotJail(Exception):
    """This system can't hold a child."""


@dataclass
class _Child:
    """A fork, the items that it has still to do, and the time since its last answer."""

    pid: int
    fd: int
    todo: list[int]
    rest: bytes = b""
    ready: bool = False
    since: float = field(default_factory=time.monotonic)
    cpu_since: float = 0.0

    def cpu_seconds(self) -> float:
        """Return the processor's time of the child; the kernel names its clock by its number."""
        try:
            return time.clock_gettime((~self.pid << 3) | 2)
        except OSError:
            return self.cpu_since


def serve(prepare: Callable[[Mapping[str, Any]], Work]) -> None:
    """Answer requests from standard input until it ends.

    Args:
        prepare: Called with a request, outside the jail, so that it may open files and must run
            nothing of the items; returns what answers an item, inside the jail.
    """
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    out = os.fdopen(os.dup(1), "w")
    sys.stdout = sys.stderr  # what a library says belongs to no line of ours
    prepare_jail()
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            work = prepare(request)
            reply = {"results": run(work, request["items"], **_limits(request))}
        except CannotJail as error:
            reply = {"unjailed": str(error)}
        except OSError as error:
            reply = {"starved": f"no process could be started: {error}"}
        out.write(json.dumps(reply) + "\n")
        out.flush()


def _limits(request: Mapping[str, Any]) -> dict[str, Any]:
    return {"cpu_seconds": request["cpu_seconds"], "children": request["children"]}


def run(
    work: Work, items: Sequence[Any], *, cpu_seconds: float, children: int
) -> list[Result | None]:
    """Return what the work says of each item: a value, or why there is none.

    Args:
        work: Answers one item with a value that JSON can carry.
        items: What a child needs of them it has by being forked.
        cpu_seconds: For one item.
        children: At most so many at a time.

    Raises:
        CannotJail: This system can't hold a child; no item was looked at.
        OSError: No process can be started.
    """
    results: list[Result | None] = [None] * len(items)
    shares = [list(range(len(items)))] if items else []
    running: dict[int, _Child] = {}
    since = time.monotonic()
    try:
        while shares or running:
            while shares:
                child = _fork(work, items, shares.pop())
                running[child.fd] = child
            time.sleep(_PAUSE)
            for fd in select.select(list(running), [], [], _LOOK)[0]:
                if left := _listen(running[fd], results):
                    _end(running.pop(fd))
                    shares.extend(share for share in left if share)
            for child in list(running.values()):
                reason = _out_of_time(child, cpu_seconds)
                if reason:
                    _end(running.pop(child.fd))
                    results[child.todo[0]] = reason
                    shares.extend([child.todo[1:]] if child.todo[1:] else [])
            if time.monotonic() - since > _WORTH:
                shares.extend(_taken_over(running.values(), children - len(running)))
                since = time.monotonic()
    finally:
        for child in running.values():
            _end(child)
    return results


def _taken_over(running: Iterable[_Child], most: int) -> list[list[int]]:
    """Take the second half of what a child has still to do, from at most so many."""
    taken = []
    for child in sorted(running, key=lambda one: -len(one.todo))[: max(0, most)]:
        half = (len(child.todo) + 1) // 2  # it is at work on the first
        child.todo, rest = child.todo[:half], child.todo[half:]
        taken += [rest] if rest else []
    return taken


def _fork(work: Work, items: Sequence[Any], share: list[int]) -> _Child:
    read_fd, write_fd = os.pipe()
    try:
        pid = os.fork()
    except OSError:
        os.close(read_fd)
        os.close(write_fd)
        raise
    if pid == 0:
        try:
            _child(work, items, share, write_fd)
        finally:
            os._exit(1)
    os.close(write_fd)
    return _Child(pid=pid, fd=read_fd, todo=share)


def _child(work: Work, items: Sequence[Any], share: list[int], write_fd: int) -> None:
    """Close the jail and work; nothing is open in it but the pipe."""
    gc.freeze()  # what is collected from here on is the child's own: the rest stays shared
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    os.dup2(write_fd, 3)
    os.closerange(0, 3)
    os.closerange(4, 65536)
    sys.stdin, sys.stdout, sys.stderr = None, SilentStream(), SilentStream()  # type: ignore[assignment]
    os.environ.clear()
    try:
        # The kernel counts whole seconds: a part of one would be none, and the end at once.
        seconds = math.ceil(WALL_SECONDS * (len(share) + 1))
        close_jail(memory_mb=_address_space_mb() + _MEMORY_MB, cpu_seconds=seconds)
    except OSError as error:
        os.write(3, str(error).encode() + b"\n")
        return
    os.write(3, _READY + b"\n")
    for number in share:
        _write(3, _answer(work, items[number]))
    os._exit(0)


def _answer(work: Work, item: Any) -> Result:
    # BaseException: SystemExit, and whatever else ends a process, is an answer like any other.
    try:
        found = {"value": work(item)}
        json.dumps(found)
        return found
    except BaseException as error:
        try:
            said = f"{type(error).__name__}: {error}"
        except BaseException:
            said = "an error that can't say what it is"
        return {"failed": " ".join(said[:_SHOWN].split()).removesuffix(":")}


def _write(fd: int, message: Result) -> None:
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(fd, data) :]


def _address_space_mb() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE") >> 20


def _listen(child: _Child, results: list[Result | None]) -> list[list[int]]:
    """Take what a child wrote; returns what is left of its share where it is through with it."""
    piece = os.read(child.fd, 1 << 16)
    *lines, child.rest = (child.rest + piece).split(b"\n")
    for line in lines:
        if not child.ready and line != _READY:
            raise CannotJail(line.decode(errors="replace"))
        if child.ready and child.todo:
            results[child.todo.pop(0)] = _parsed(line)
        child.ready = True
    if lines:
        child.since, child.cpu_since = time.monotonic(), child.cpu_seconds()
    if piece and len(child.rest) <= _LONGEST_LINE and (child.todo or not child.ready):
        return []
    if not child.ready:
        raise OSError("a jailed process ended before it was asked")
    if child.todo:
        why = "it wrote without end" if piece else "it ended the process that scores it"
        results[child.todo.pop(0)] = {"failed": why}
    return [child.todo]


def _parsed(line: bytes) -> Result:
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        said = None
    if isinstance(said, dict) and len(said) == 1 and said.keys() <= {"value", "failed"}:
        return said
    return {"failed": "what came back is no result"}


def _out_of_time(child: _Child, cpu_seconds: float) -> Result | None:
    """Return why a child is to be ended, which is the fault of its first item."""
    computed, passed = child.cpu_seconds() - child.cpu_since, time.monotonic() - child.since
    if select.select([child.fd], [], [], 0)[0]:
        return None  # it has answered: the time was not the first item's alone
    if computed > cpu_seconds and child.ready:
        return {"failed": f"it took more than {cpu_seconds:g} s"}
    if passed > WALL_SECONDS:
        return {"starved": f"the machine gave no time to score it within {WALL_SECONDS:g} s"}
    return None


def _end(child: _Child) -> None:
    os.kill(child.pid, signal.SIGKILL)  # one that ended is still there until it is waited for
    os.waitpid(child.pid, 0)
    os.close(child.fd)
