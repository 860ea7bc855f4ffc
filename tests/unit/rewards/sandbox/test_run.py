"""Code that nobody has read: honest code passes its tests, attacks neither pass nor get out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from atlas.errors import AtlasError
from atlas.rewards.sandbox import run
from atlas.rewards.sandbox.run import Limits, TestReport, run_tests

LIMITS = Limits(seconds=5.0, memory_mb=256)
TESTS = "assert add(1, 2) == 3\nassert add(-1, 1) == 0"
RIGHT = "def add(a, b):\n    return a + b\n"
SOURCE = Path(__file__).resolve().parents[4] / "src"


def report_of(code: str, tests: str = TESTS, *, entry: str | None = None) -> TestReport:
    return run_tests(textwrap.dedent(code), textwrap.dedent(tests), entry=entry, limits=LIMITS)


def test_right_code_passes_and_wrong_code_is_told_why() -> None:
    assert report_of(RIGHT) == TestReport(passed=1, total=1, first="")
    report = report_of("def add(a, b): return a - b", "assert add(1, 2) == 3, 'no sum'")
    assert (report.passed, report.first) == (0, "AssertionError: no sum")


def test_all_ways_of_writing_tests_are_run() -> None:
    report = report_of(
        RIGHT,
        """
        import unittest
        import solution
        assert add(1, 1) == 2
        def test_one(): assert add(1, 2) == 3
        def test_wrong(): assert add(1, 2) == 4, "on purpose"
        def check(candidate): assert candidate(2, 2) == 4
        class More(unittest.TestCase):
            def test_add(self): self.assertEqual(solution.add("a", "b"), "ab")
            def test_raises(self):
                with self.assertRaises(TypeError): add(1, "b")
        """,
        entry="add",
    )
    assert (report.passed, report.total) == (5, 6)
    assert report.first == "test_wrong: AssertionError: on purpose"


def test_values_of_all_kinds_cross_over_and_keep_their_types() -> None:
    report = report_of(
        """
        from fractions import Fraction
        class Stack:
            def __init__(self): self.items = []
            def push(self, item): self.items.append(item); return self
            def __len__(self): return len(self.items)
        class Empty(Exception): pass
        def same(value): return value
        def fail(): raise Empty("nothing there")
        def depth(stack): return len(stack.items)
        """,
        """
        from fractions import Fraction
        from solution import *
        for value in (None, True, 1, 2**200, -7, 0.5, 1j, "é", b"\\x00", [1, [2]], (1, "a"), {1, 2},
                      {"a": {2: None}, (1, 2): []}, float("inf"), Fraction(1, 3), frozenset([1])):
            assert same(value) == value and type(same(value)) is type(value), value
        stack = Stack()
        stack.push(3).push([4])
        assert (stack.items, len(stack), depth(stack), stack.items[-1]) == ([3, [4]], 2, 2, [4])
        assert stack != Stack()
        try:
            fail()
        except Empty as error:
            assert str(error) == "nothing there"
        else:
            assert False
        """,
    )
    assert report == TestReport(passed=1, total=1, first="")


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        # forging the result
        ("print('3')\nprint('{\"passed\": 1, \"total\": 1}')", "NameError"),
        ("import sys\nsys.exit(0)", "SystemExit: 0"),
        ("import os\nos._exit(0)", "broke off"),
        ("def add(a, b):\n    import os; os._exit(0)", "broke off"),
        ("def add(a, b):\n    raise SystemExit(0)", "SystemExit: 0"),
        (
            "class Same(int):\n    def __eq__(self, other): return True\n    __hash__ = None\n"
            "def add(a, b): return Same(9)",
            "AssertionError",
        ),
        (
            "class Same:\n    def __eq__(self, other): return True\ndef add(a, b): return Same()",
            "AssertionError",
        ),
        (
            "import builtins, unittest\nbuiltins.AssertionError = Exception\n"
            "unittest.TestCase.assertEqual = lambda *a: None\ndef add(a, b): return 9",
            "AssertionError",
        ),
        (
            "import sys, types\nfor m in list(sys.modules.values()):\n"
            "    if hasattr(m, 'run_tests'): m.run_tests = lambda *a: {'passed': 1}\n"
            "def add(a, b): return 9",
            "AssertionError",
        ),
        (
            "import os\nfor fd in range(3, 1000):\n    try: os.write(fd, b'{\"passed\": 1}\\n')\n"
            "    except OSError: pass\ndef add(a, b): return 9",
            "broke off",
        ),
        # getting out
        ("add = lambda a, b: open('/etc/passwd').read()", "PermissionError"),
        (
            "import os\nadd = lambda a, b: os.open('/tmp/written', os.O_CREAT | os.O_RDWR)",
            "Permission",
        ),
        ("import os\nadd = lambda a, b: os.listdir('/')", "PermissionError"),
        ("import os\nadd = lambda a, b: os.kill(os.getppid(), 9)", "PermissionError"),
        ("import os\nadd = lambda a, b: os.fork()", "PermissionError"),
        ("import os\nadd = lambda a, b: os.execv('/bin/sh', ['sh'])", "PermissionError"),
        ("import os\nadd = lambda a, b: os.system('true')", "AssertionError"),
        ("import _socket\nadd = lambda a, b: _socket.socket()", "PermissionError"),
        (
            "import threading\nadd = lambda a, b: threading.Thread(target=print).start()",
            "RuntimeError",
        ),
        (
            "import ctypes\nadd = lambda a, b: ctypes.CDLL(None).socket(2, 1, 0)",
            "AssertionError",  # -1
        ),
        ("import os\nadd = lambda a, b: dict(os.environ)", "AssertionError"),
        ("import resource\nadd = lambda a, b: resource.setrlimit(7, (9, 9))", ""),
        ("import sqlite3", "No module named 'sqlite3'"),
        # taking too much
        ("def add(a, b): return [0] * 10**10", "MemoryError"),
        ("x = []\nwhile True: x.append(' ' * 10**7)", "MemoryError"),
        ("def add(a, b): return 'x' * (1 << 25)", "broke off"),
        ("def add(a, b): return add(a, b)", "RecursionError"),
    ],
)
def test_attacks(attack: str, said: str) -> None:
    report = report_of(attack)
    assert report.passed == 0
    assert report.total == 1
    assert report.broken == ""
    assert said in report.first
    assert not Path("/tmp/written").exists()


def test_the_code_cannot_lend_the_tests_its_own_builtins() -> None:
    code = "def abs(x): return 0\ndef all(x): return True\ndef add(a, b): return 99\n"
    for tests in ("assert abs(add(1, 2) - 3) < 1e-6", "assert all([add(1, 2) == 3])"):
        assert report_of(code, f"from solution import *\n{tests}").passed == 0


@pytest.mark.parametrize(
    "attack",
    [
        "while True: pass",
        "import time\ntime.sleep(100)",
        "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
        "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
        "def add(a, b):\n    while True:\n        try:\n            while True: pass\n"
        "        except BaseException: pass",
    ],
)
def test_endless_code_is_killed_with_its_processes(attack: str) -> None:
    before = _processes()
    started = time.monotonic()
    report = run_tests(attack, TESTS, entry=None, limits=Limits(seconds=0.5, memory_mb=256))
    assert (report.passed, report.timed_out) == (0, True)
    assert report.first == "took more than 0.5 s"
    assert time.monotonic() - started < run.START_LIMIT
    assert _processes() <= before


def test_tests_that_cannot_be_read_say_nothing_about_the_code() -> None:
    report = report_of(RIGHT, "assert add(1, 2 == 3")
    assert report.broken.startswith("the tests can't be read")


@pytest.mark.parametrize(
    "report",
    [
        '{"passed": 100, "total": 1, "first": ""}',
        '{"passed": 100, "total": 100, "first": ""}',
        '{"passed": -1, "total": 1, "first": ""}',
        '{"passed": 1.0, "total": 1, "first": ""}',
        '{"passed": true, "total": true, "first": ""}',
        '{"passed": 1}',
        "[]",
        "100 of 1 passed",
        "[" * 50000,
    ],
)
def test_a_report_that_the_tests_forge_says_nothing(report: str) -> None:
    forging = f"""
        import os
        for fd in range(3, 1000):
            try: os.write(fd, {report!r}.encode() + b"\\n")
            except OSError: pass
        assert add(1, 2) == 9
        """
    found = report_of(RIGHT, forging)
    assert found.passed == found.total == 0
    assert found.broken.startswith("the report of the task's tests")


def test_no_file_descriptor_is_left_open() -> None:
    report_of(RIGHT)
    before = len(os.listdir("/proc/self/fd"))
    report_of(RIGHT)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs the command unshare")
def test_it_holds_without_privileges_too() -> None:
    """In a user namespace where this process is nobody, it has no rights at all."""
    script = (
        "import os; from atlas.rewards.sandbox.run import *; print(os.geteuid());"
        f"print(run_tests({RIGHT!r}, {TESTS!r}, entry=None, limits=Limits()).passed);"
        "print(run_tests('add = lambda a, b: open(\"/etc/passwd\")', 'assert add(1, 2)',"
        " entry=None, limits=Limits()).first)"
    )
    done = subprocess.run(
        ["unshare", "--user", sys.executable, "-c", script],
        env={"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare failed" in done.stderr:
        pytest.skip("this system has no user namespaces")
    user, passed, said = done.stdout.splitlines()
    assert user != "0"
    assert passed == "1"
    assert said == "PermissionError: [Errno 1] Operation not permitted: '/etc/passwd'"


def test_where_no_jail_can_be_had_nothing_is_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A filter that does nothing, as on a kernel without one."""
    package = tmp_path / "atlas"
    _copy_sandbox(package)
    filters = package / "rewards" / "sandbox" / "syscalls.py"
    filters.write_text("def forbid_system_calls():\n    pass\n")
    monkeypatch.setattr(run, "_SOURCE", str(tmp_path))
    marker = tmp_path / "ran"
    with pytest.raises(AtlasError, match=r"can't jail code \(a jailed process could still"):
        run_tests(f"open({str(marker)!r}, 'w')", TESTS, entry=None, limits=LIMITS)
    assert not marker.exists()


def _copy_sandbox(package: Path) -> None:
    target = package / "rewards" / "sandbox"
    target.mkdir(parents=True)
    for folder in (package, package / "rewards"):
        (folder / "__init__.py").write_text("")
    for file in (SOURCE / "atlas" / "rewards" / "sandbox").glob("*.py"):
        (target / file.name).write_text(file.read_text())


def _processes() -> set[str]:
    """Processes of the sandbox that are alive."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if b"atlas.rewards.sandbox.candidate" in line and f"{os.getpid()}".encode() not in line:
            parent = (folder / "stat").read_text().split()[3]
            if parent == str(os.getpid()):
                found.add(folder.name)
    return found
