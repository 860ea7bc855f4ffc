"""A process that answers a line at a time: its end, its silence, and a fork of its owner."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas.rewards.verifiers.line_process import LineProcess

WORKER = """
import json, os, sys, time
for line in sys.stdin:
    said = json.loads(line)
    if said == "die": os._exit(1)
    if said == "sleep": time.sleep(60)
    if said == "junk": print("no JSON", flush=True)
    else: print(json.dumps([said, os.getpid()]), flush=True)
"""


@pytest.fixture
def worker(tmp_path: Path) -> LineProcess:
    file = tmp_path / "worker.py"
    file.write_text(WORKER)
    return LineProcess(str(file), start_limit=60)


def test_questions_go_to_one_process_until_it_is_closed(worker: LineProcess) -> None:
    first, second = (worker.ask(word, time_limit=5) for word in ("a", "b"))
    assert (first[0], second[0]) == ("a", "b")
    assert first[1] == second[1]
    worker.close()
    assert worker.ask("c", time_limit=5)[1] != first[1]
    worker.close()


@pytest.mark.parametrize(
    ("word", "error"),
    [("die", ConnectionError), ("junk", ConnectionError), ("sleep", TimeoutError)],
)
def test_a_failure_is_raised_once_and_the_next_question_is_answered(
    worker: LineProcess, word: str, error: type[Exception]
) -> None:
    before = worker.ask("a", time_limit=5)[1]
    with pytest.raises(error):
        worker.ask(word, time_limit=0.3)
    said, process = worker.ask("b", time_limit=5)
    assert said == "b"
    assert process != before
    worker.close()
