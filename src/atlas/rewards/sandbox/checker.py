"""The process that holds the tests: it calls the code under test, which lives in another one.

The tests see its public names as globals and as the module ``solution``; calls go over a pipe, and
plain values come back. Run are ``assert`` at the top level, functions ``test_…`` without
arguments, ``unittest`` cases, and ``check(candidate)``.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import json
import os
import sys
import types
import unittest
from collections.abc import Callable, Iterator
from typing import Any

from atlas.rewards.sandbox.candidate import READY, SilentStream
from atlas.rewards.sandbox.jail import enter_jail
from atlas.rewards.sandbox.wire import BrokenWire, Handle, Line, decode, encode

_SHOWN = 200


class CandidateEnded(BaseException):
    """The code under test ended its process, or broke the conversation."""


class RemoteObject:
    """An object of the code under test. Only itself is equal to it: compare its values."""

    def __init__(self, caller: Caller, number: int) -> None:
        self.__dict__["_caller"] = caller
        self.__dict__["_number"] = number

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it over there."""
        return self._caller.ask(self._number, "call", (args, kwargs))

    def __getattr__(self, name: str) -> Any:
        return self._caller.ask(self._number, "get", name)

    def __getitem__(self, key: Any) -> Any:
        return self._caller.ask(self._number, "item", key)

    def __len__(self) -> int:
        return self._caller.ask(self._number, "length")

    def __iter__(self) -> Iterator[Any]:
        return iter(self._caller.ask(self._number, "list"))

    def __str__(self) -> str:
        return str(self._caller.ask(self._number, "text"))

    def __repr__(self) -> str:
        return str(self._caller.ask(self._number, "show"))


class Caller:
    """Asks the other process, and raises what it says was raised."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self.errors: dict[str, type[Exception]] = {}

    def names(self) -> dict[str, Any]:
        """Return the public names of the code, once it has run."""
        reply = self._reply()
        names = reply.get("names")
        if not isinstance(names, dict):
            raise CandidateEnded("it said what is no answer")
        for name, what in names.items():
            if what == "exception":
                self.errors[str(name)] = type(str(name), (Exception,), {})
        return {
            name: self.errors[name] if what == "exception" else self._read(what["value"])
            for name, what in names.items()
        }

    def ask(self, number: int, do: str, given: Any = None) -> Any:
        """Let the other process do something with one of its objects."""
        message: dict[str, Any] = {"on": number, "do": do}
        message["with"] = given if do == "get" else encode(self._send(given), self._keep)
        try:
            self._line.send(message)
        except BrokenWire as error:
            raise CandidateEnded(str(error)) from error
        reply = self._reply()
        if "value" not in reply:
            raise CandidateEnded("it said what is no answer")
        return self._read(reply["value"])

    def _reply(self) -> dict[str, Any]:
        try:
            reply = self._line.receive()
        except BrokenWire as error:
            raise CandidateEnded(str(error)) from error
        if not isinstance(reply, dict):
            raise CandidateEnded("it said what is no answer")
        if "raised" in reply:
            name, text = map(str, reply["raised"])
            raise self._error_class(name)(text)
        return reply

    def _error_class(self, name: str) -> type[Exception]:
        known = getattr(builtins, name, None)
        if isinstance(known, type) and issubclass(known, Exception) and name.isidentifier():
            # One that takes other arguments than a text would raise in being raised.
            plain = known if not issubclass(known, UnicodeError) else ValueError
            return plain if not issubclass(known, BaseExceptionGroup) else Exception
        plain = name if name.isidentifier() else "Error"
        return self.errors.setdefault(name, type(plain, (Exception,), {}))

    def _read(self, message: Any) -> Any:
        try:
            return decode(message, lambda number: RemoteObject(self, int(number)))
        except BrokenWire as error:
            raise CandidateEnded(str(error)) from error

    def _send(self, value: Any) -> Any:
        """Bring objects of the other side back to their numbers, inside lists and the like too."""
        if isinstance(value, RemoteObject):
            return Handle(value._number)
        if isinstance(value, list | tuple | set | frozenset):
            return type(value)(self._send(one) for one in value)
        if isinstance(value, dict):
            return {self._send(key): self._send(one) for key, one in value.items()}
        return value

    def _keep(self, value: Any) -> int:
        raise TypeError(f"a {type(value).__name__} can't be handed to the code under test")


def run_tests(caller: Caller, tests: str, entry: str | None) -> dict[str, Any]:
    """Run the tests; return how many of how many passed, and what the first failure said."""
    tree = ast.parse(tests)
    failures: list[str] = []
    total = int(any(map(_asserts, tree.body)))
    try:
        module = types.ModuleType("solution")
        names = caller.names()
        module.__dict__.update(names)
        # The code must not lend the tests its own idea of `abs` or `all`.
        module.__dict__["__all__"] = [name for name in names if not hasattr(builtins, name)]
        sys.modules["solution"] = module
        space = {name: names[name] for name in module.__all__} | {"__name__": "tests"}
        exec(compile(tree, "<tests>", "exec"), space)
        for name, check in _checks(space, module, entry):
            total += 1
            try:
                check()
            except Exception as error:
                failures.append(f"{name}: {_said(error)}")
    except Exception as error:
        return {"passed": 0, "total": max(total, 1), "first": _said(error)}
    except CandidateEnded as error:
        return {"passed": 0, "total": max(total, 1), "first": f"the code broke off: {error}"}
    first = failures[0] if failures else ""
    return {"passed": total - len(failures), "total": total, "first": first}


def _asserts(statement: ast.stmt) -> bool:
    """Tell whether a statement of the top level checks something by itself."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return False
    return any(isinstance(node, ast.Assert) for node in ast.walk(statement))


def _checks(
    space: dict[str, Any], module: types.ModuleType, entry: str | None
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield the tests that have to be called."""
    for name, value in list(space.items()):
        if isinstance(value, types.FunctionType) and name.startswith("test"):
            if not inspect.signature(value).parameters:
                yield name, value
        elif isinstance(value, type) and issubclass(value, unittest.TestCase):
            for case in unittest.defaultTestLoader.loadTestsFromTestCase(value):
                yield str(case), lambda case=case: _run_case(case)
        elif name == "check" and isinstance(value, types.FunctionType) and entry:
            under_test = getattr(module, entry, None)
            if under_test is None:
                raise NameError(f"the code defines no '{entry}'")
            yield name, lambda check=value, under_test=under_test: check(under_test)


def _run_case(case: Any) -> None:
    result = unittest.TestResult()
    case.run(result)
    faults = result.errors + result.failures
    if faults or result.skipped or result.unexpectedSuccesses:
        raise AssertionError(faults[0][1].strip().splitlines()[-1] if faults else "skipped")


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:_SHOWN]


def main(read_fd: int, write_fd: int, report_fd: int) -> None:
    """Read the job, close the jail, say so, run the tests, report."""
    job = json.loads(sys.stdin.read())
    line, report = Line(read_fd, write_fd), Line(read_fd, report_fd)
    try:
        compile(job["tests"], "<tests>", "exec")
        enter_jail(memory_mb=job["memory_mb"], cpu_seconds=job["cpu_seconds"])
    except (SyntaxError, ValueError) as error:
        report.send({"broken": f"the tests can't be read: {error}"})
        return
    except OSError as error:
        report.send({"unjailed": str(error)})
        return
    report.send(READY)
    for fd in (0, 1, 2):
        os.close(fd)
    sys.stdin, sys.stdout, sys.stderr = None, SilentStream(), SilentStream()  # type: ignore[assignment]
    report.send(run_tests(Caller(line), job["tests"], job["entry"]))
    os._exit(0)
