"""The output of a server: its end, its cause of death, and what is new in it."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

_BYTES_PER_LINE = 400
_ERROR = re.compile(r"(?:^|ERROR.*\] ?)((?:\w+\.)*\w+(?:Error|Exception): .*)")


def tail(path: Path, lines: int) -> str:
    """Return the last lines of a log; nothing where there is none."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _BYTES_PER_LINE * lines))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    return ""


def first_error(log: str) -> str:
    """Return the first error in a log of vLLM, without what its logger puts before it, or "".

    The first is the cause: those after it say that an engine or a worker is dead.
    """
    found = filter(None, map(_ERROR.search, log.splitlines()))
    return next((match.group(1)[:300] for match in found), "")


class Follower:
    """Reads a log as it grows.

    Args:
        path: It needn't be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def new_text(self) -> str:
        """Return what has been written since the last call."""
        with contextlib.suppress(OSError), self._path.open("rb") as file:
            file.seek(self._position)
            text = file.read()
            self._position += len(text)
            return text.decode(errors="replace")
        return ""
