"""What a trainer asks of a server besides generation: new weights, and which ones it has.

Input: a server's address and its control token. Every call has a deadline, and its error names the
phase and quotes the server.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from atlas.serve.connection import ADAPTER_PATH, Connection, ControlError
from atlas.serve.token import find_token
from atlas.serve.transfer.file import FileTransfer
from atlas.serve.transfer.protocol import NamedTensors, WeightTransfer

InFlight = Literal["wait", "abort", "keep"]
"""What happens to unfinished requests in a pause: they are finished first, ended at once, or go on
after it with whatever weights are there then."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Deadlines:
    """Seconds for one call of each phase."""

    pause: float = 600.0
    """Unfinished requests may have to be finished."""
    transfer: float = 600.0
    call: float = 60.0
    """Anything else."""


class ControlClient:
    """The control endpoints of one server.

    Args:
        url: Such as ``http://127.0.0.1:8000``.
        token: ``None``: the one that ``atlas serve`` on this machine made for that port.
        api_key: The server's key for generation, if it has one.
        way: How weights travel; ``None``: through a file in memory.

    Raises:
        AtlasError: There is no token.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        api_key: str | None = None,
        way: WeightTransfer | None = None,
        deadlines: Deadlines | None = None,
    ) -> None:
        self._connection = Connection(url, token or find_token(url), api_key=api_key)
        self._way = way or FileTransfer()
        self._deadlines = deadlines or Deadlines()

    @property
    def url(self) -> str:
        """The server's address."""
        return self._connection.url

    def pause(self, in_flight: InFlight = "wait") -> None:
        """Stop generation; new requests wait until `resume`.

        Raises:
            ControlError: As every method here.
        """
        self._post(f"/pause?mode={in_flight}", phase="pause", deadline_s=self._deadlines.pause)

    def resume(self) -> None:
        """Go on with generation."""
        self._post("/resume", phase="resume")

    def update_weights(
        self, named_tensors: NamedTensors, version: int, *, in_flight: InFlight = "wait"
    ) -> None:
        """Replace all weights in place, between two requests.

        Args:
            named_tensors: Every parameter under its name in a checkpoint; read once.
            version: Recorded in the server, and told by `version` and vLLM's own answers.
            in_flight: What happens to unfinished requests.
        """
        with self._paused(in_flight):
            self._way.send(self._connection, named_tensors, version, self._deadlines.transfer)
            self._settle(version, in_flight)

    def load_adapter(
        self, folder: Path, version: int, *, name: str = "policy", in_flight: InFlight = "wait"
    ) -> None:
        """Load a LoRA adapter, in the place of an earlier one of that name.

        Args:
            folder: As peft saves it; the server must be able to read it, until this returns.
            name: What requests then call the model.
            in_flight: What happens to unfinished requests.
        """
        path, phase = str(Path(folder).resolve()), "load of the adapter"
        with self._paused(in_flight):
            answers = self._workers("atlas_load_adapter", version, name, path, phase=phase)
            if not all(answer.get("loaded") for answer in answers):
                with contextlib.suppress(ControlError):  # one that an earlier try left half-known
                    self._post("/v1/unload_lora_adapter", {"lora_name": name}, phase=phase)
                body = {"lora_name": name, "lora_path": path}
                self._post(ADAPTER_PATH, body, phase=phase, deadline_s=self._deadlines.transfer)
                self._workers("atlas_keep_adapter", version, name, phase=phase)
            self._settle(version, in_flight)

    def reset_prefix_cache(self, *, unfinished: bool = False) -> None:
        """Forget all keys and values; those of old weights are wrong under new ones.

        Args:
            unfinished: Those of unfinished requests too, which are computed again.
        """
        phase = "reset of the prefix cache"
        query = "?reset_running_requests=true" if unfinished else ""
        answer = self._post(f"/reset_prefix_cache{query}", phase=phase)
        if not isinstance(answer, dict) or not isinstance(answer.get("success"), bool):
            raise self._connection.unlike(answer, phase)
        if not answer["success"]:
            raise ControlError(
                f"{phase}: the server at {self.url} still holds blocks of unfinished requests; "
                "pause it first",
                phase=phase,
            )

    def version(self) -> int | None:
        """Return the version of the weights that are served.

        ``None``: none was pushed since the server started, so it serves what is in the folder, or
        an update failed half-way.
        """
        versions = {answer.get("version") for answer in self.state()}
        return versions.pop() if len(versions) == 1 else None

    def state(self) -> list[dict[str, Any]]:
        """Return what each worker says of itself: version, model, dtype, rank, what is broken."""
        phase = "question for the version"
        states = self._workers("atlas_state", phase=phase)
        if not states or not all(isinstance(one.get("version"), int | None) for one in states):
            raise self._connection.unlike(states, phase)
        return states

    def close(self) -> None:
        """Give back what the way of transfer holds."""
        self._way.close()

    @contextlib.contextmanager
    def _paused(self, in_flight: InFlight) -> Any:
        self.pause(in_flight)
        try:
            yield
        except BaseException:
            # The first error is the one to be read.
            with contextlib.suppress(ControlError):
                self.resume()
            raise
        self.resume()

    def _settle(self, version: int, in_flight: InFlight) -> None:
        """What no update does by itself, before anybody generates with the new weights."""
        self.reset_prefix_cache(unfinished=in_flight == "keep")
        body = {"new_version": str(version)}
        self._post("/update_weight_version", body, phase="record of the version")

    def _post(
        self, path: str, body: Any = None, *, phase: str, deadline_s: float | None = None
    ) -> Any:
        return self._connection.post(
            path, body, phase=phase, deadline_s=deadline_s or self._deadlines.call
        )

    def _workers(self, method: str, *arguments: Any, phase: str) -> list[dict[str, Any]]:
        return self._connection.workers(
            method, *arguments, phase=phase, deadline_s=self._deadlines.call
        )
