"""Tasks of the user's own: what a line may hold, and what is said of a broken one."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from atlas.data.task_file import read_tasks
from atlas.errors import AtlasError
from atlas.types import Task

GOOD = '{"question": " What is 2 + 3? ", "answer": 5}'
FULL = '{"question": "q", "answer": "a", "family": "f", "metadata": {"n": [1]}}'


def read(path: Path, text: str | bytes, **options) -> list[Task]:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_tasks(path, **({"check": lambda task: None} | options))


@pytest.mark.parametrize("name", ["tasks.jsonl", "tasks.jsonl.gz"])
def test_lines_become_tasks_in_their_order(tmp_path: Path, name: str) -> None:
    content = f"\ufeff{GOOD}\r\n\n{FULL}\n".encode()
    packed = gzip.compress(content) if name.endswith(".gz") else content
    assert read(tmp_path / name, packed) == [
        Task(question="What is 2 + 3?", answer="5", family="reference"),
        Task(question="q", answer="a", family="f", metadata={"n": [1]}),
    ]


def test_a_limit_takes_the_first_and_reads_no_further(tmp_path: Path) -> None:
    assert len(read(tmp_path / "t.jsonl", f"{GOOD}\n{FULL}\nbroken", limit=2)) == 2


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "line 3: no JSON"),
        ("[1]", "line 3: no JSON .* expected an object, found a list"),
        ('{"question": "q2"}', "line 3: answer must be text that isn't empty, but it is null"),
        ('{"question": "q2", "answer": true}', "line 3: answer must be text .* it is true"),
        ('{"question": " ", "answer": "a"}', "line 3: question must be text"),
        ('{"question": "q2", "answer": "a", "family": 3}', "line 3: family must be text"),
        ('{"question": "q2", "answer": "a", "metadata": 3}', "line 3: metadata must be an object"),
        ('{"question": "q2", "answer": "a", "meta": 3}', "line 3: unknown key 'meta'"),
        ('{"question": "What is 2 + 3?", "answer": "6"}', "line 3: it asks what line 1 asks"),
        ("\ud800", "line 3: no JSON .* no UTF-8"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, reason: str) -> None:
    content = f"{GOOD}\n\n{line}\n{FULL}\n".encode(errors="surrogatepass")
    with pytest.raises(AtlasError, match=rf"t\.jsonl, {reason}") as caught:
        read(tmp_path / "t.jsonl", content)
    assert "\n" not in str(caught.value)


def test_a_task_that_the_check_refuses_is_named(tmp_path: Path) -> None:
    def check(task: Task) -> str | None:
        return "no good" if task.family == "f" else None

    with pytest.raises(AtlasError, match=r"t\.jsonl, line 2: no good"):
        read(tmp_path / "t.jsonl", f"{GOOD}\n{FULL}\n", check=check)


def test_a_file_without_tasks_or_none_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match="holds no task"):
        read(tmp_path / "t.jsonl", "\n\n")
    with pytest.raises(AtlasError, match=r"can't read .*gone"):
        read_tasks(tmp_path / "gone.jsonl", check=lambda task: None)
    with pytest.raises(AtlasError, match="is damaged"):
        read(tmp_path / "t.jsonl.gz", gzip.compress(GOOD.encode() * 100)[:-12])
