"""One vLLM server as a process: started, waited for, stopped.

It is the leader of a process group of its own, so that what it starts can be stopped with it, and
nothing else ever is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import atlas
from atlas.errors import OutageError
from atlas.serve.checks import free_port
from atlas.serve.inside import idle
from atlas.serve.interpreter import Interpreter
from atlas.serve.log import first_error, tail
from atlas.serve.settings import ServerSettings, server_command, server_environ
from atlas.serve.shared_memory import leftovers, shared_files, wait_until_gone
from atlas.serve.token import new_token, remove_token, runtime_folder, write_token

READY_S = 1800.0
"""Loading a large model and compiling it takes minutes; a hang must end all the same."""
STOP_S = 20.0
_LOOK_EVERY_S = 0.25
_TAIL_LINES = 20


class ServerProcess:
    """A server that was started here. Leaving its ``with`` block stops it.

    Args:
        token: What opens its control endpoints; ``None``: a new one.
        log: Where its output goes; ``None``: beside its token.
    """

    def __init__(
        self,
        settings: ServerSettings,
        interpreter: Interpreter,
        *,
        token: str | None = None,
        log: Path | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        if settings.port == 0:
            settings = dataclasses.replace(settings, port=free_port(settings.host))
        self.settings = settings
        self.interpreter = interpreter
        self.token = token or new_token()
        self.token_file = write_token(settings.port, self.token, environ)
        self.log = log or runtime_folder(environ) / f"{settings.port}.log"
        self._code = Path(tempfile.mkdtemp(prefix="atlas-serve-code-"))
        # The package alone: what lies beside it is the trainer's, in versions that vLLM refuses.
        (self._code / "atlas").symlink_to(Path(atlas.__file__).resolve().parent)
        _announce_plugin(self._code)
        self._shared: set[Path] = set()
        self._stopped: int | None = None
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
        end = time.monotonic() + deadline_s
        while not self.answers():
            if self.returncode is not None:
                raise OutageError(self.obituary("before it was ready"))
            if time.monotonic() > end:
                raise OutageError(self.not_ready(deadline_s))
            time.sleep(_LOOK_EVERY_S)

    def answers(self, timeout_s: float = 5.0) -> bool:
        """Return whether ``/health`` and ``/v1/models`` answer with 200."""
        paths = ("/health", "/v1/models")
        ready = all(_status(self.settings, path, timeout_s) == 200 for path in paths)
        if ready:
            self.note_shared()
        return ready

    def note_shared(self) -> None:
        """Note its files in shared memory, which are removed after it: it can't be asked dead."""
        self._shared |= shared_files(self.pid)

    def not_ready(self, deadline_s: float) -> str:
        """Return what to say about a server that takes longer than that to start."""
        return (
            f"the server of {self.settings.model} isn't ready after {deadline_s:g} s; its log is "
            f"{self.log}, and ends:\n{self.tail()}"
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
        return tail(self.log, lines)

    def stop(self, deadline_s: float = STOP_S) -> int:
        """End the server and all that it started; return its exit code. May be called again.

        It is asked first (SIGTERM), and after ``deadline_s`` no more (SIGKILL).
        """
        # Later the number may be another's, and so it is used once.
        if self._stopped is None:
            self.note_shared()
            try:
                if self.returncode is None:
                    self._process.terminate()
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        self._process.wait(deadline_s)
            finally:
                self._stopped = self._end(deadline_s)
        return self._stopped

    def _end(self, deadline_s: float) -> int:
        # Its engine is a process of its own, which would outlive it; a group without members is
        # no group any more.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        code = self._process.wait(deadline_s)
        wait_until_gone(self.pid, deadline_s)
        for path in leftovers(self._shared):
            path.unlink(missing_ok=True)
        remove_token(self.token_file, self.token)
        shutil.rmtree(self._code, ignore_errors=True)
        return code

    def _start(self, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists():
            # What an earlier server said last is wanted when this one dies of the same.
            self.log.replace(self.log.with_name(f"{self.log.name}.previous"))
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


def _announce_plugin(code: Path) -> None:
    """Write what a package's metadata tells vLLM: a function to call in each of its processes."""
    folder = code / "atlas_serving-0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: atlas-serving\nVersion: 0\n")
    (folder / "entry_points.txt").write_text(idle.ENTRY_POINT)
