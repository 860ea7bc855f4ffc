"""The process that holds the code under test: it defines, and answers calls one after another.

It knows neither the tests nor the expected results, and its output goes nowhere: whatever it does
to its own interpreter, all that reaches the tests is plain values (`wire`).
"""

from __future__ import annotations

import json
import os
import sys
import types
from typing import Any

from atlas.rewards.sandbox.jail import enter_jail
from atlas.rewards.sandbox.wire import BrokenWire, Line, decode, encode

READY = "ready"
_SHOWN = 300


class SilentStream:
    """A text stream that forgets."""

    def write(self, text: str) -> int:
        """Forget a text."""
        return len(text)

    def flush(self) -> None:
        """Do nothing."""


class Candidate:
    """The names that the code defines, and the objects that the other side holds a number of."""

    def __init__(self) -> None:
        self.module = types.ModuleType("solution")
        self._objects: list[Any] = []

    def run(self, code: str) -> dict[str, Any]:
        """Run the code; return its public names, or the error that ended it."""
        sys.modules["solution"] = self.module
        try:
            exec(compile(code, "<solution>", "exec"), self.module.__dict__)
            return {"names": self._names()}
        except BaseException as error:
            return _raised(error)

    def _names(self) -> dict[str, Any]:
        names: dict[str, Any] = {}
        for name, value in list(vars(self.module).items()):
            if name.startswith("__") or isinstance(value, types.ModuleType):
                continue
            if isinstance(value, type) and issubclass(value, Exception):
                names[name] = "exception"
            else:
                names[name] = {"value": encode(value, self._keep)}
        return names

    def answer(self, message: Any) -> dict[str, Any]:
        """Do what a message asks: call, get, item, text, length or list, of an object."""
        try:
            on = self._objects[message["on"]]
            do = message["do"]
            if do == "call":
                values = decode(message["with"], self._objects.__getitem__)
                result = on(*values[0], **values[1])
            elif do == "get":
                result = getattr(on, message["with"])
            elif do == "item":
                result = on[decode(message["with"], self._objects.__getitem__)]
            else:
                result = {"text": str, "length": len, "list": list, "show": repr}[do](on)
            return {"value": encode(result, self._keep)}
        except BaseException as error:
            return _raised(error)

    def _keep(self, value: Any) -> int:
        self._objects.append(value)
        return len(self._objects) - 1


def _raised(error: BaseException) -> dict[str, Any]:
    # An error of the code's own class could refuse to say what it is.
    try:
        return {"raised": [type(error).__name__, str(error)[:_SHOWN]]}
    except BaseException:
        return {"raised": ["Exception", ""]}


def main(read_fd: int, write_fd: int) -> None:
    """Read the job, close the jail, say so, run the code, answer calls until nobody asks."""
    job = json.loads(sys.stdin.read())
    line = Line(read_fd, write_fd)
    try:
        enter_jail(memory_mb=job["memory_mb"], cpu_seconds=job["cpu_seconds"])
    except OSError as error:
        sys.stdout.write(f"{error}\n")
        sys.stdout.flush()
        return
    sys.stdout.write(f"{READY}\n")
    sys.stdout.flush()
    for fd in (0, 1, 2):
        os.close(fd)
    sys.stdin, sys.stdout, sys.stderr = None, SilentStream(), SilentStream()  # type: ignore[assignment]
    candidate = Candidate()
    try:
        line.send(candidate.run(job["code"]))
        while True:
            line.send(candidate.answer(line.receive()))
    except BrokenWire:
        # Neither exit handlers nor threads of the code get another turn.
        os._exit(0)
