"""A user's own tasks: a JSONL file -> `Task` list.

Input: one JSON object a line, ``{"question": …, "answer": …, "family": …, "metadata": {…}}``; the
last two may be left out. Output: the tasks in the order of the file; or, where a line is broken,
its number and the reason. Without a family, or with one that reasoning-gym doesn't know, an answer
is right where it says what the reference says.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from atlas.errors import AtlasError
from atlas.json_file import json_value
from atlas.run.files import write_atomic
from atlas.types import REFERENCE, Task

_KEYS: Final = ("question", "answer", "family", "metadata")
_EXAMPLE: Final = '{"question": "What is 2 + 3?", "answer": "5"}'


def read_tasks(
    path: str | Path, *, limit: int | None = None, check: Callable[[Task], str | None]
) -> list[Task]:
    """Read the tasks of a file, gzipped where its name ends in ``.gz``.

    Args:
        path: Blank lines in it are passed over.
        limit: Only so many, from the top; None: all.
        check: Says what is wrong with a task, or None.

    Raises:
        AtlasError: The file can't be read, has no task, or a line holds none; file, line and
            reason are named. A question that is asked twice is one.
    """
    path = Path(path)
    tasks: list[Task] = []
    lines: dict[str, int] = {}
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        if limit is not None and len(tasks) == limit:
            break
        try:
            task = _task(line)
        except ValueError as error:
            raise AtlasError(f"{path}, line {number}: {error}") from error
        reason = check(task)
        if task.id in lines:
            reason = f"it asks what line {lines[task.id]} asks"
        if reason:
            raise AtlasError(f"{path}, line {number}: {reason}")
        lines[task.id] = number
        tasks.append(task)
    if not tasks:
        raise AtlasError(f"{path} holds no task; write one a line, as in {_EXAMPLE}")
    return tasks


def write_tasks(path: Path, tasks: Sequence[Task]) -> None:
    """Write tasks as `read_tasks` reads them.

    Raises:
        AtlasError: The disk is full.
    """
    lines = [json.dumps({name: getattr(task, name) for name in _KEYS}) + "\n" for task in tasks]
    write_atomic(path, "".join(lines))


def _lines(path: Path) -> list[bytes]:
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise AtlasError(f"the compressed file {path} is damaged: {error}") from error
    except OSError as error:
        raise AtlasError(f"can't read {path}: {error.strerror}") from error


def _task(line: bytes) -> Task:
    """Read one line; a ``ValueError`` says what is wrong with it."""
    try:
        record = json_value(line)
    except ValueError as error:
        raise ValueError(f"no JSON as in {_EXAMPLE}: {error}") from error
    if unknown := record.keys() - set(_KEYS):
        raise ValueError(
            f"unknown key '{min(unknown)}'; there are {', '.join(_KEYS)}, and what a verifier "
            "needs besides goes into metadata"
        )
    return Task(
        question=_text(record, "question"),
        answer=_text(record, "answer"),
        family=_text(record, "family") if "family" in record else REFERENCE,
        metadata=_object(record.get("metadata", {})),
    )


def _text(record: dict[str, Any], name: str) -> str:
    value = record.get(name)
    if name == "answer" and isinstance(value, int | float) and not isinstance(value, bool):
        value = json.dumps(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} must be text that isn't empty, but it is {json.dumps(value)}")
    return value.strip()


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"metadata must be an object, but it is {json.dumps(value)}")
    return value
