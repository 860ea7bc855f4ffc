"""Jailed forks: one that dies or takes too long costs its own item, and none can forge a reply."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import AtlasError
from atlas.rewards.sandbox import forks
from atlas.rewards.verifiers.jailed import JailedWorker, Reply

WORKER = """
import os, time
from atlas.rewards.sandbox.forks import serve

seen = []

def work(code):
    seen.append(code)
    return eval(code)

serve(lambda request: work)
"""


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Any:
    file = tmp_path_factory.mktemp("worker") / "worker.py"
    file.write_text(WORKER)
    worker = JailedWorker(str(file), what="the tests")
    yield worker
    worker.close()


def test_replies_come_in_the_order_of_the_items(worker: JailedWorker) -> None:
    found = worker.ask([f"{n} * 2" for n in range(40)])
    assert found == [Reply(value=2 * n) for n in range(40)]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("exit()", "SystemExit"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("os._exit(0)", "it ended the process that scores it"),
        ("9**9**9", "it took more than 0.5 s"),
        ("'a' * 10**10", "MemoryError"),
        ("'a' * 10**7", "it wrote without end"),
        ("open('/etc/passwd').read()", "PermissionError"),
        ("os.listdir('/proc')", "PermissionError"),
        ("os.fork()", "PermissionError"),
        ("os.kill(os.getppid(), 9)", "PermissionError"),
        ("__import__('antigravity')", "ModuleNotFoundError"),
        ("{1}", "TypeError"),
        ("os.write(3, b'junk\\n')", "what came back is no result"),
    ],
)
def test_an_item_that_fails_is_alone_in_that(worker: JailedWorker, code: str, reason: str) -> None:
    first, second, third = worker.ask(["1", code, "2"], cpu_seconds=0.5)
    assert (first.value, third.value) == (1, 2) or "os.write" in code
    assert second.value is None
    assert second.failed.startswith(reason)


def test_what_waits_behind_items_that_hang_is_answered(worker: JailedWorker) -> None:
    items = ["9**9**9", *map(str, range(9)), "9**9**9", "os._exit(0)", *map(str, range(9))]
    found = worker.ask(items, cpu_seconds=0.5)
    assert [one.value for one in found] == [None, *range(9), None, None, *range(9)]
    assert [found[place].failed for place in (0, 10, 11)] == [
        *["it took more than 0.5 s"] * 2,
        "it ended the process that scores it",
    ]


def test_a_further_child_takes_the_second_half_of_what_the_busiest_has_to_do() -> None:
    first, second = forks._Child(1, 1, [0]), forks._Child(2, 2, [1, 2, 3, 4, 5])
    assert forks._taken_over([first, second], 1) == [[4, 5]]
    assert second.todo == [1, 2, 3]
    assert forks._taken_over([first, second], 2) == [[3]]
    assert (first.todo, second.todo) == ([0], [1, 2])
    assert forks._taken_over([first, second], 0) == []


@pytest.fixture
def itself() -> Iterator[tuple[forks._Child, int]]:
    """A child at its third item, which is this process, and where to write what it says."""
    read_fd, write_fd = os.pipe()
    yield forks._Child(os.getpid(), read_fd, [2], ready=True), write_fd
    os.close(read_fd)
    os.close(write_fd)


def test_what_a_child_says_of_items_that_another_took_over_is_not_heard(
    itself: tuple[forks._Child, int],
) -> None:
    child, write_fd = itself
    os.write(write_fd, b'{"value": 1}\n{"value": 0}\n')
    results: list[Any] = [None] * 4
    assert forks._listen(child, results) == [[]]
    assert results == [None, None, {"value": 1}, None]


def test_time_is_no_item_s_fault_while_an_answer_lies_unread(
    itself: tuple[forks._Child, int],
) -> None:
    child, write_fd = itself
    child.cpu_since = -9.0
    assert forks._out_of_time(child, 5.0) == {"failed": "it took more than 5 s"}
    os.write(write_fd, b'{"value": 1}\n')
    assert forks._out_of_time(child, 5.0) is None


def test_what_an_item_leaves_behind_ends_with_its_request(worker: JailedWorker) -> None:
    worker.ask(["seen.append('mine') or 1", "2"])
    assert worker.ask(["'mine' in seen"]) == [Reply(value=False)]


def test_the_environment_is_empty_and_standard_output_is_nobody_s(worker: JailedWorker) -> None:
    found = worker.ask(["len(os.environ)", "print('{}') or 1", "os.write(1, b'{}')"])
    assert [one.value for one in found] == [0, 1, None]
    assert found[2].failed.startswith("OSError: [Errno 9]")


def test_a_process_that_claims_to_be_unjailed_when_it_works_stops_nothing(
    worker: JailedWorker,
) -> None:
    (found,) = worker.ask(['os.write(3, b\'{"unjailed": "no"}\\n\')'])
    assert found.value is None


def test_where_nothing_can_be_jailed_nothing_is_looked_at(tmp_path: Path) -> None:
    file = tmp_path / "worker.py"
    closed = "def close_jail(**_): raise OSError('no filter')\nforks.close_jail = close_jail\n"
    file.write_text(
        WORKER.replace("seen = []", f"from atlas.rewards.sandbox import forks\n{closed}")
    )
    worker = JailedWorker(str(file), what="the tests")
    with pytest.raises(AtlasError, match=r"can't jail a process \(no filter\).*of the tests"):
        worker.ask(["1"])
    worker.close()


def test_a_worker_that_can_t_start_says_nothing_about_the_answers(tmp_path: Path) -> None:
    file = tmp_path / "worker.py"
    file.write_text("raise SystemExit(1)")
    (found,) = JailedWorker(str(file), what="the tests").ask(["1"])
    assert found == Reply(starved="its process ended")


def test_a_fork_that_the_machine_gives_no_time_is_starved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "worker.py"
    patch = "seen = []\nfrom atlas.rewards.sandbox import forks\nforks.WALL_SECONDS = 3\n"
    file.write_text(WORKER.replace("seen = []", patch))
    worker = JailedWorker(str(file), what="the tests")
    slept, after = worker.ask(["time.sleep(30)", "1"])
    assert slept.starved == "the machine gave no time to score it within 3 s"
    assert after.value == 1
    worker.close()
