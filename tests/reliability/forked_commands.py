"""A warm process that runs ``atlas`` commands in forks of itself, and has them killed on the way.

Input, a line of JSON each: the words of a command, the folder that it runs in, and where it is
killed: before the n-th thing that it does to the disk or to another process, or after so many
seconds. Output, a line each: what became of it. A fork costs a hundredth of a start.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import time
from typing import Any

from atlas.cli import app

_EVENTS = frozenset(
    {
        *("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.link"),
        *("shutil.rmtree", "shutil.move", "subprocess.Popen", "open", "os.truncate"),
    }
)
"""Of Python's audit: what is announced before it is done."""
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
        pid = os.fork()
        if pid == 0:
            _run(request)
        _, status = os.waitpid(pid, 0)
        outcome = {
            "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
            "code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
            "seconds": time.monotonic() - started,
        }
        sys.stdout.write(json.dumps(outcome) + "\n")
        sys.stdout.flush()


def _run(request: dict[str, Any]) -> None:
    folder = request["folder"]
    os.setsid()
    os.chdir(folder)
    out = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if request["seconds"] is not None:
        timer = threading.Timer(request["seconds"], os.kill, (os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()
    count = _count(folder, request["event"])
    sys.argv = ["atlas", *request["words"]]
    code = 1
    try:
        app.main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        with open("events.txt", "w") as file:
            file.write(str(count[0]))
        os._exit(code)


def _count(folder: str, fatal: int | None) -> list[int]:
    """Count what is done below a folder; before the fatal event the process is no more."""
    count = [0]

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event not in _EVENTS or not _is_done(event, args, folder):
            return
        count[0] += 1
        if count[0] == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return count


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
