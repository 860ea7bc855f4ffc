"""HTTP to a server's control endpoints: JSON in and out, the token, a deadline for every call.

Nothing here follows a proxy of the environment: a token goes to the server that it is for.
"""

from __future__ import annotations

import http.client
import json
from typing import Any

from atlas.config.address import parse_address
from atlas.errors import OutageError, one_line
from atlas.serve.inside.gate import TOKEN_HEADER

ADAPTER_PATH = "/v1/load_lora_adapter"
_QUOTED_CHARS = 1500
_SHORTEST_SECRET = 8
"""Characters; hiding a shorter one would only garble what is said."""


class ControlError(OutageError):
    """A call of a control endpoint failed.

    Args:
        phase: What was being done, such as ``"pause"``.
    """

    def __init__(self, text: str, *, phase: str) -> None:
        super().__init__(text)
        self.phase = phase


class ServerUnreachable(ControlError):
    """Nobody answered: the server is dead, restarting, or somewhere else."""


class DeadlinePassed(ControlError):
    """The server took the call and gave no answer in time."""


class Connection:
    """A server's control endpoints.

    Args:
        url: Such as ``http://127.0.0.1:8000``.
        api_key: The server's key for generation, which some paths ask for too.
    """

    def __init__(self, url: str, token: str, *, api_key: str | None = None) -> None:
        address = parse_address(url.rstrip("/").removesuffix("/v1"))
        self.url = address.geturl()
        self.host = address.hostname or ""
        self._port = address.port
        self._https = address.scheme == "https"
        self._headers = {TOKEN_HEADER: token, "content-type": "application/json"}
        self._secrets = [one for one in (token, api_key or "") if len(one) >= _SHORTEST_SECRET]
        if api_key:
            self._headers["authorization"] = f"Bearer {api_key}"

    def post(self, path: str, body: Any = None, *, phase: str, deadline_s: float) -> Any:
        """Return the answer to a POST, decoded.

        Raises:
            ControlError: It failed; the text has the phase and what the server said.
        """
        return self._call("POST", path, json.dumps(body or {}), phase, deadline_s)

    def get(self, path: str, *, phase: str, deadline_s: float) -> Any:
        """Return the answer to a GET, decoded.

        Raises:
            ControlError: As `post`.
        """
        return self._call("GET", path, None, phase, deadline_s)

    def workers(
        self, method: str, *arguments: Any, phase: str, deadline_s: float
    ) -> list[dict[str, Any]]:
        """Call a method of ``atlas.serve.inside.worker`` in every worker; return their answers.

        Raises:
            ControlError: The call failed, or a worker says that it couldn't.
        """
        body = {"method": method, "args": list(arguments), "timeout": deadline_s}
        said = self.post("/collective_rpc", body, phase=phase, deadline_s=deadline_s)
        answers = said.get("results") if isinstance(said, dict) else None
        if not isinstance(answers, list) or not all(isinstance(one, dict) for one in answers):
            raise self.unlike(said, phase)
        for answer in answers:
            if answer.get("error"):
                left = "; the model is now part old and part new" if answer.get("broken") else ""
                raise ControlError(
                    f"{phase}: the server at {self.url} says: {answer['error']}{left}", phase=phase
                )
        return answers

    def unlike(self, answer: object, phase: str) -> ControlError:
        """Return the error of an answer that isn't laid out as expected."""
        return ControlError(
            f"{phase}: the server at {self.url} answered {one_line(ascii(answer), 200)}, as no "
            "server of this Atlas does; start it with atlas serve",
            phase=phase,
        )

    def _call(self, method: str, path: str, body: str | None, phase: str, deadline_s: float) -> Any:
        kind = http.client.HTTPSConnection if self._https else http.client.HTTPConnection
        connection = kind(self.host, self._port, timeout=deadline_s)
        try:
            connection.request(method, path, body, self._headers)
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
            for secret in self._secrets if response.status != 200 else ():
                text = text.replace(secret, "***")  # some servers repeat what they refuse
        except TimeoutError:
            raise DeadlinePassed(
                f"{phase}: the server at {self.url} gave no answer within {deadline_s:g} s; its "
                "log says what it does",
                phase=phase,
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise ServerUnreachable(
                f"{phase}: nobody answers at {self.url} ({error or type(error).__name__}); is the "
                "server running, and is this its port?",
                phase=phase,
            ) from error
        finally:
            connection.close()
        if response.status != 200:
            raise ControlError(self._refusal(response.status, path, text, phase), phase=phase)
        return _decoded(text)

    def _refusal(self, status: int, path: str, text: str, phase: str) -> str:
        if status == 404 and path == ADAPTER_PATH:
            return (
                f"{phase}: the server at {self.url} takes no adapters; start it with atlas serve "
                "--max-lora-rank and the rank of the adapter (lora_r)"
            )
        if status == 404:
            return (
                f"{phase}: the server at {self.url} has no {path}: its control endpoints "
                "are closed; start it with atlas serve"
            )
        if status == 403:
            return (
                f"{phase}: the server at {self.url} doesn't accept this control token: it was made "
                "for another server, or for an earlier start of this one"
            )
        return f"{phase}: the server at {self.url} answered {status}: {_said(text)}"


def _decoded(text: str) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text


def _said(text: str) -> str:
    """Return the message in the answer to a failed call."""
    answer = _decoded(text)
    if isinstance(answer, dict):
        error = answer.get("error") or answer.get("detail") or answer.get("message")
        answer = error.get("message") if isinstance(error, dict) else error
    return " ".join(str(answer or text).split())[:_QUOTED_CHARS]
