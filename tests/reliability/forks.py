"""Commands in forks of one warm process (`forked_commands.py`), and what a run of theirs left."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

KILLED = 9


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a command."""

    signal: int
    code: int | None
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What befalls a command, and before what."""

    do: str = "SIGKILL"
    at: str = ""
    """A pattern of Python's audit events with their paths, as in ``open .*step_000002``."""
    event: int = 1
    """Before which of those that match."""


class Forks:
    """Runs commands in forks of one warm process."""

    def __init__(self) -> None:
        server = Path(__file__).with_name("forked_commands.py")
        # One thread: a fork has none of its parent's threads, and would wait for them.
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        self._process = subprocess.Popen(
            [sys.executable, server],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def run(
        self,
        folder: Path,
        *words: str,
        event: int | None = None,
        seconds: float | None = None,
        faults: Sequence[Fault] = (),
        sample: str | None = None,
    ) -> Outcome:
        """Run a command, and wait for its end.

        Args:
            folder: That it runs in; ``output.txt`` there has what it says.
            event: Before which of all events it is killed.
            seconds: After which it is killed.
            faults: What else befalls it.
            sample: Before which events its memory and open files are noted in ``samples.txt``.
        """
        faults = [*faults, *([Fault(event=event)] if event is not None else [])]
        request = {
            "folder": str(folder),
            "words": words,
            "seconds": seconds,
            "faults": [asdict(fault) for fault in faults],
            "sample": sample,
        }
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Outcome(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """Let the warm process end."""
        self._process.communicate()


def begun(inputs: Path, folder: Path) -> Path:
    shutil.copytree(inputs, folder)
    return folder


def results(folder: Path) -> dict[str, Any]:
    """Return what must be equal: the final weights, and each step's metrics with its chain."""
    weights = {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*.safetensors"))
        if "checkpoints" not in file.parts
    }
    lines = {
        str(file.relative_to(folder)): [
            {name: value for name, value in json.loads(line).items() if "time" not in name}
            for line in file.read_text().replace("/tokens_per_second", "/time").splitlines()
        ]
        for file in sorted(folder.rglob("metrics.jsonl"))
    }
    return {"weights": weights, "metrics": lines}
