"""A warm process that runs ``atlas`` commands in forks of itself, where faults befall them.

Input, a line of JSON each: the words of a command, the folder that it runs in, after how many
``seconds`` it is killed, and its ``faults``, of which each happens before the n-th thing
(``event``) that the command does to the disk or to another process, of all whose description
matches a pattern (``at``). Before each that matches ``sample``, a line goes to ``samples.txt``:
process, seconds, bytes of memory, open files, open sockets. Output, a line each: what became of it.
A fork costs a hundredth of a start.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import re
import resource
import select
import shutil
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from torch import Tensor

from atlas.cli import app
from atlas.parallel.engine.plain import PlainEngine

_EVENTS = frozenset(
    {
        *("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.link"),
        *("shutil.rmtree", "shutil.move", "subprocess.Popen", "open", "os.truncate"),
    }
)
"""Of Python's audit: what is announced before it is done."""
_POLL_S = 0.02
_WARM = (
    *("atlas.training.sft", "atlas.training.grpo", "atlas.quickstart.run"),
    *("atlas.from_scratch.stages", "atlas.data.load", "atlas.data.training_sets"),
    *("atlas.environments.teaching.configured", "atlas.environments.solve"),
)


def main() -> None:
    """Answer requests until the input ends."""
    for name in _WARM:
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        started = time.monotonic()
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            _run(request, write)
        os.close(write)
        status = _listened(pid, read, f"{request['folder']}/output.txt")
        outcome = {
            "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
            "code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
            "seconds": time.monotonic() - started,
        }
        sys.stdout.write(json.dumps(outcome) + "\n")
        sys.stdout.flush()


def _listened(pid: int, output: int, path: str) -> int:
    """Write down what a process says until it ends, whoever else holds its end of the pipe."""
    with open(path, "ab", buffering=0) as file:
        ended, status = 0, 0
        while not ended:
            ended, status = os.waitpid(pid, os.WNOHANG)
            while select.select([output], [], [], 0 if ended else _POLL_S)[0]:
                text = os.read(output, 65536)
                if not text:
                    time.sleep(0 if ended else _POLL_S)
                    break
                file.write(text)
    os.close(output)
    return status


def _run(request: dict[str, Any], output: int) -> None:
    folder = request["folder"]
    os.setsid()
    os.chdir(folder)
    # A pipe: what is said must arrive where the disk takes nothing.
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if request["seconds"] is not None:
        timer = threading.Timer(request["seconds"], os.kill, (os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()
    count = _count(folder, request)
    sys.argv = ["atlas", *request["words"]]
    code = 1
    try:
        app.main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        with contextlib.suppress(OSError), open("events.txt", "w") as file:
            file.write(str(count[0]))
        os._exit(code)


def _count(folder: str, request: dict[str, Any]) -> list[int]:
    """Count what is done below a folder, and let the faults happen in between."""
    count, seen = [0], [0] * len(request["faults"])
    under_way = False

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal under_way
        if under_way or event not in _EVENTS or not _is_done(event, args, folder):
            return
        under_way = True  # what a fault does itself is no event
        count[0] += 1
        description = f"{event} {args[0]!s}"
        if request["sample"] and re.search(request["sample"], description):
            _sample(folder)
        for place, fault in enumerate(request["faults"]):
            seen[place] += bool(re.search(fault["at"], description))
            if seen[place] == fault["event"]:
                seen[place] += 1  # once
                _befall(fault["do"])
        under_way = False

    sys.addaudithook(hook)
    return count


def _sample(folder: str) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    opened = [os.path.realpath(path) for path in Path("/proc/self/fd").iterdir()]
    num_sockets = sum("socket:" in path for path in opened)
    figures = (
        *(os.getpid(), time.monotonic(), pages * resource.getpagesize()),
        *(len(opened) - num_sockets, num_sockets),
    )
    with open(f"{folder}/samples.txt", "a") as file:
        file.write(" ".join(map(str, figures)) + "\n")


def _befall(what: str) -> None:
    """Let a fault happen to this process: a signal, or a word with what it is about."""
    name, _, about = what.partition(" ")
    if name in signal.Signals.__members__:
        os.kill(os.getpid(), signal.Signals[name])
    elif name == "remove":
        shutil.rmtree(about) if os.path.isdir(about) else os.remove(about)
    elif name == "limit":  # no file may become longer than so many bytes
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(about), resource.RLIM_INFINITY))
    elif name == "fill":  # the disk
        with contextlib.suppress(OSError), open(about, "wb", buffering=0) as file:
            while file.write(bytes(65536)):
                pass
    elif name == "nan":
        _spoil_next_gradients()
    else:
        raise ValueError(f"no fault is called {what}")


def _spoil_next_gradients() -> None:
    clip = PlainEngine._clip

    def spoiled(engine: PlainEngine) -> Tensor:
        PlainEngine._clip = clip
        for parameter in engine.trained.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(math.nan)
        return clip(engine)

    PlainEngine._clip = spoiled


def _is_done(event: str, args: tuple[Any, ...], folder: str) -> bool:
    if event == "subprocess.Popen":
        return True
    if event == "open":
        path, _, flags = args
        if not isinstance(path, str | bytes) or not flags & (os.O_WRONLY | os.O_RDWR):
            return False
    else:
        path = args[0]
    if not isinstance(path, str | bytes):
        return False
    return os.path.abspath(os.fsdecode(path)).startswith(folder)


if __name__ == "__main__":
    main()
