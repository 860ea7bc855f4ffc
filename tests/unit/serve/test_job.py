from __future__ import annotations

import sys
import time
from pathlib import Path

from atlas.serve.job import Job

COUNTS = """
import signal, sys, time
from pathlib import Path
asked = 0
def ask(number, frame):
    global asked
    asked += 1
    Path(sys.argv[1]).write_text(f"{number} {asked}")
    if asked == int(sys.argv[2]):
        sys.exit(7)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, ask)
Path(sys.argv[1]).write_text("up")
while True:
    time.sleep(0.01)
"""


def counting(folder: Path, ends_after: int) -> Job:
    note = folder / "note"
    job = Job([sys.executable, "-c", COUNTS, str(note), str(ends_after)], {})
    while not note.exists() or note.read_text() != "up":
        time.sleep(0.01)
    return job


def test_one_request_to_stop_is_one_signal(tmp_path: Path) -> None:
    with counting(tmp_path, 1) as job:
        job.ask_to_stop()
        while job.returncode is None:
            time.sleep(0.01)
        assert (tmp_path / "note").read_text() == "2 1"
        assert job.returncode == 7


def test_the_end_is_asked_for_twice(tmp_path: Path) -> None:
    job = counting(tmp_path, 2)
    assert job.end(0.3) == 7
    assert (tmp_path / "note").read_text() == "15 2"


def test_then_it_is_killed_with_its_children(tmp_path: Path) -> None:
    job = Job(
        ["sh", "-c", f"trap '' TERM; setsid sleep 600 & echo $! > {tmp_path}/child; wait; wait"], {}
    )
    child = tmp_path / "child"
    while not child.exists() or not child.read_text():
        time.sleep(0.01)
    assert job.end(0.2) == -9
    state = Path(f"/proc/{child.read_text().strip()}/stat")
    for _ in range(100):
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.01)
    raise AssertionError("the child lives")


def test_variables_are_on_top_of_the_environment(tmp_path: Path) -> None:
    with Job(
        ["sh", "-c", f'echo "$CUDA_VISIBLE_DEVICES$HOME" > {tmp_path}/v'],
        {"CUDA_VISIBLE_DEVICES": "2,"},
    ) as job:
        while job.returncode is None:
            time.sleep(0.01)
    assert (tmp_path / "v").read_text().startswith("2,/")
