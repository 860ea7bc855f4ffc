"""One vLLM server as a process: started, waited for, stopped.

It is the leader of a process group of its own, so that what it starts can be stopped with it, and
nothing else ever is.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import atlas
from atlas.errors import AtlasError
from atlas.serve.interpreter import Interpreter
from atlas.serve.settings import ServerSettings, server_command, server_environ
from atlas.serve.shared_memory import leftovers, shared_files
from atlas.serve.token import make_token, runtime_folder

READY_S = 1800.0
"""Loading a large model and compiling it takes minutes; a hang must end all the same."""
STOP_S = 20.0
_LOOK_EVERY_S = 0.25
_TAIL_LINES = 20


class ServerProcess:
    """A server that was started here. Leaving its ``with`` block stops it.

    Args:
        settings: What is started.
        interpreter: By what.
        log: Where its output goes; ``None``: beside its token.
        environ: The environment here.
    """

    def __init__(
        self,
        settings: ServerSettings,
        interpreter: Interpreter,
        *,
        log: Path | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.settings = settings
        self.interpreter = interpreter
        self.token_file = make_token(settings.port, environ)
        self.log = log or runtime_folder(environ) / f"{settings.port}.log"
        self._code = Path(tempfile.mkdtemp(prefix="atlas-serve-code-"))
        # The package alone: what lies beside it is the trainer's, in versions that vLLM refuses.
        (self._code / "atlas").symlink_to(Path(atlas.__file__).resolve().parent)
        self._shared: set[Path] = set()
        self._process = self._start(environ)

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The number of the process, and of its group."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """How it ended; ``None`` while it runs."""
        return self._process.poll()

    def wait_until_ready(self, deadline_s: float = READY_S) -> None:
        """Return when ``/health`` and ``/v1/models`` answer.

        Raises:
            AtlasError: The server ended, or the time did; with its last lines.
        """
        for _ in self.until_ready(deadline_s):
            time.sleep(_LOOK_EVERY_S)

    def until_ready(self, deadline_s: float = READY_S) -> Iterator[None]:
        """Yield while the server isn't ready yet, so that a caller can do something between.

        Raises:
            AtlasError: As `wait_until_ready`.
        """
        end = time.monotonic() + deadline_s
        while not self.answers():
            if self.returncode is not None:
                raise AtlasError(self.obituary("before it was ready"))
            if time.monotonic() > end:
                raise AtlasError(
                    f"the server of {self.settings.model} isn't ready after {deadline_s:g} s; its "
                    f"log is {self.log}, and ends:\n{self.tail()}"
                )
            yield
        self._shared |= shared_files(self.pid)

    def answers(self, timeout_s: float = 5.0) -> bool:
        """Return whether ``/health`` and ``/v1/models`` answer with 200."""
        return all(
            _status(self.settings, path, timeout_s) == 200 for path in ("/health", "/v1/models")
        )

    def obituary(self, when: str) -> str:
        """Return what to say about a server that ended: how, why if it said so, its last lines."""
        code = self.returncode
        how = f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"
        reason = first_error(self.tail(2000))
        reason = f" ({reason})" if reason else ""
        return (
            f"the server of {self.settings.model} ended {how} {when}{reason}; its log is "
            f"{self.log}, and ends:\n{self.tail()}"
        )

    def tail(self, lines: int = _TAIL_LINES) -> str:
        """Return the last lines of its output."""
        with contextlib.suppress(OSError), self.log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 400 * lines))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
        return ""

    def stop(self, deadline_s: float = STOP_S) -> int:
        """End the server and all that it started; return its exit code. May be called again.

        It is asked first (SIGTERM), and after ``deadline_s`` no more (SIGKILL).
        """
        self._shared |= shared_files(self.pid)
        if self.returncode is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(deadline_s)
        # Its engine is a process of its own, which would outlive it; a group without members is
        # no group any more.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        code = self._process.wait(deadline_s)
        for path in leftovers(self._shared):
            path.unlink(missing_ok=True)
        self.token_file.unlink(missing_ok=True)
        shutil.rmtree(self._code, ignore_errors=True)
        return code

    def _start(self, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        command = server_command(self.settings, self.interpreter, environ)
        env = server_environ(
            self.settings,
            self.interpreter,
            code=self._code,
            token=self.token_file,
            environ=environ,
        )
        with self.log.open("wb") as output:
            return subprocess.Popen(
                command,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )


def _status(settings: ServerSettings, path: str, timeout_s: float) -> int | None:
    """Return the status of a GET; ``None`` where nobody answers."""
    address = urlsplit(settings.url)
    headers = {"Authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=timeout_s)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def first_error(log: str) -> str:
    """Return the first error in a log of vLLM, without what its logger puts before it, or "".

    The first is the cause: those after it say that an engine or a worker is dead.
    """
    for line in log.splitlines():
        match = re.search(r"(?:^|ERROR.*\] ?)((?:\w+\.)*\w+(?:Error|Exception): .*)", line)
        if match:
            return match.group(1)[:300]
    return ""
