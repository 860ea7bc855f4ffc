"""A process that answers questions one after another, each within a time limit.

Input: a file that reads a line of JSON and writes one. Output: its answers. A process that doesn't
answer in time, or dies, is killed with all that it started; the next question starts another.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

_SOURCE = str(Path(__file__).resolve().parents[3])
_PASSED = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "MPLCONFIGDIR", "XDG_CACHE_HOME")
_PASSED += ("XDG_CONFIG_HOME", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")
"""What a worker needs of the environment to start; the rest, keys among it, isn't its business."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_SET = {
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    "MPLBACKEND": "Agg",
    **dict.fromkeys(_THREADS, "1"),
}
"""One thread: a process with more can't be forked safely, nor jailed."""


class LineProcess:
    """One worker, started by the first question; threads take turns.

    Args:
        file: From the folder of this one, or anywhere by its whole path.
        start_limit: Seconds that it may take to start, added to the first question's limit.
    """

    def __init__(self, file: str, *, start_limit: float) -> None:
        self._file = Path(__file__).parent / file
        self._start_limit = start_limit
        self._process: subprocess.Popen[bytes] | None = None
        self._turn = threading.Lock()
        self._owner = os.getpid()
        atexit.register(self.close)

    def ask(self, question: Mapping[str, Any], *, time_limit: float) -> Any:
        """Return the answer to a question.

        Raises:
            TimeoutError: It took too long.
            ConnectionError: The process died, as it does when memory runs out.
        """
        with self._turn:
            if self._owner != os.getpid():
                # A fork has its parent's pipes; two askers on one pipe would mix their answers.
                self._process, self._owner = None, os.getpid()
            if self._process is None or self._process.poll() is not None:
                self._process = self._start()
                time_limit += self._start_limit
            stdin, stdout = self._process.stdin, self._process.stdout
            assert stdin is not None
            assert stdout is not None
            try:
                stdin.write(json.dumps(question).encode() + b"\n")
                stdin.flush()
                return json.loads(_read_line(stdout, time_limit))
            except (TimeoutError, OSError, ValueError) as error:
                self._kill()
                if isinstance(error, TimeoutError | ConnectionError):
                    raise
                raise ConnectionError(f"its process broke off ({error})") from error
            except BaseException:
                # Interrupted in the middle: its answer must not be read as the next one's.
                self._kill()
                raise

    def close(self) -> None:
        """End the process, where there is one."""
        if self._process is not None and self._owner == os.getpid():
            self._kill()

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {name: os.environ[name] for name in _PASSED if name in os.environ}
        paths = [_SOURCE, *filter(None, [os.environ.get("PYTHONPATH")])]
        return subprocess.Popen(
            # -P: the folder of the file is no place to import from.
            [sys.executable, "-P", str(self._file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**environment, **_SET, "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,
        )

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


def _read_line(stdout: IO[bytes], time_limit: float) -> bytes:
    deadline = time.monotonic() + time_limit
    line = b""
    while not line.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([stdout], [], [], left)[0]:
            raise TimeoutError
        piece = os.read(stdout.fileno(), 65536)
        if not piece:
            raise ConnectionError("its process ended")
        line += piece
    return line
