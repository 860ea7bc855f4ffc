"""A server that is started again when it dies, once: a second death soon after is no accident.

Nothing waits here. Whoever owns the server calls `Supervisor.check` every now and then, or
`Supervisor.wait_until_ready` where there is nothing else to do.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from atlas.errors import OutageError
from atlas.serve.checks import free_port
from atlas.serve.interpreter import Interpreter
from atlas.serve.process import READY_S, ServerProcess
from atlas.serve.settings import ServerSettings
from atlas.serve.token import new_token

if TYPE_CHECKING:
    from atlas.serve.control import ControlClient

_LOOK_EVERY_S = 0.25
_NOTE_EVERY_S = 2.0
"""Going through all processes takes 10 ms."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RestartPolicy:
    """When a dead server is started again.

    Example: with ``cooldown_s=600``, a death 5 minutes after a restart ends the run.
    """

    cooldown_s: float = 600.0

    def allows(self, now_s: float, restarted_s: float | None) -> bool:
        """Return whether it may be started again at ``now_s``, last started again then."""
        return restarted_s is None or now_s - restarted_s >= self.cooldown_s


class Supervisor:
    """One server, watched. Leaving its ``with`` block stops it.

    Address and token stay the same over a restart. The weights don't: the server has then those of
    its folder, says ``None`` for their version, and its user pushes the current ones again.

    Args:
        ready_s: How long a start may take.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        settings: ServerSettings,
        interpreter: Interpreter,
        *,
        policy: RestartPolicy | None = None,
        ready_s: float = READY_S,
        log: Path | None = None,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        port = settings.port or free_port(settings.host)
        self.settings = dataclasses.replace(settings, port=port)
        self.ready = False
        self._interpreter = interpreter
        self._policy = policy or RestartPolicy()
        self._ready_s = ready_s
        self._log = log
        self._environ = environ
        self._clock = clock
        self._token = new_token()
        self._restarted_s: float | None = None
        self._process: ServerProcess | None = None
        self._started_s = self._noted_s = 0.0

    def __enter__(self) -> Supervisor:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where it is reached, also after a restart."""
        return self.settings.url

    @property
    def process(self) -> ServerProcess:
        """The one that runs now, or ran last."""
        assert self._process is not None, "start comes first"
        return self._process

    def control(self) -> ControlClient:
        """Return a client for its control endpoints; it goes on working after a restart."""
        # It needs torch, which whoever only starts servers doesn't wait for.
        from atlas.serve.control import ControlClient  # noqa: PLC0415

        return ControlClient(self.url, self._token, api_key=self.settings.api_key)

    def start(self) -> None:
        """Start it; `check` says when it is ready."""
        self.ready = False
        self._started_s = self._noted_s = self._clock()
        self._process = ServerProcess(
            self.settings,
            self._interpreter,
            token=self._token,
            log=self._log,
            environ=self._environ,
        )

    def check(self) -> bool:
        """Look after it; return whether it is ready. Starts it again where it has died.

        Raises:
            AtlasError: It died while it was starting, or died again within the cool-down, or isn't
                ready in time; with its last lines.
        """
        if self.process.returncode is not None:
            self._replace()
            return self.ready
        if self._clock() - self._noted_s >= _NOTE_EVERY_S:
            self._noted_s = self._clock()
            self.process.note_shared()
        if not self.ready:
            self.ready = self.process.answers()
            if not self.ready and self._clock() - self._started_s > self._ready_s:
                raise OutageError(self.process.not_ready(self._ready_s))
        return self.ready

    def wait_until_ready(self) -> None:
        """Return when it is ready.

        Raises:
            AtlasError: As `check`.
        """
        while not self.check():
            time.sleep(_LOOK_EVERY_S)

    def restart(self) -> None:
        """Stop it, dead, hanging or well, and start it again; return when it is ready.

        Raises:
            AtlasError: It was started again within the cool-down already, or doesn't get ready.
        """
        self.process.stop()
        self.ready = True  # it was; so this death is no failed start
        self._replace()
        self.wait_until_ready()

    def stop(self) -> int:
        """Stop it for good; return its exit code."""
        return self.process.stop() if self._process is not None else 0

    def _replace(self) -> None:
        now = self._clock()
        if not self.ready:
            raise OutageError(self.process.obituary("before it was ready"))
        if not self._policy.allows(now, self._restarted_s):
            since = now - (self._restarted_s or now)
            raise OutageError(self.process.obituary(f"{since:.0f} s after it was started again"))
        self.process.stop()
        self._restarted_s = now
        self.start()
