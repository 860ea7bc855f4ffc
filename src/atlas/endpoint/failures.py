"""What went wrong with a call: an exception of the client -> retry, give this call up, or stop.

Refusals that another attempt may pass (429, 5xx, no connection, time-outs) are retried; those that
concern this one text (too long, filtered) give the call up; those that every call would meet (wrong
key, unknown model, no credit) stop the run, since waiting mends none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import openai

from atlas.masking import mask_secrets

AbstentionKind = Literal[
    "timeout", "rate_limited", "unreachable", "server_error", "refused", "unreadable"
]
Remedy = Literal["retry", "give_up", "stop"]

_RETRIED = frozenset({408, 409, 425, 429, *range(500, 600)})
_NO_CREDIT = ("insufficient_quota", "billing", "credit")
_STOPPING = {
    401: "the key is refused",
    402: "there is no credit left",
    403: "access is refused",
    404: "nothing is there under this address and model",
}
_LONGEST = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """One failed attempt."""

    kind: AbstentionKind
    reason: str
    """For a log; holds no key."""
    remedy: Remedy
    headers: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Abstention:
    """No answer, and why; never a score of 0."""

    kind: AbstentionKind
    reason: str


class CallError(Exception):
    """A call gave no reply after all attempts; whoever asked makes an `Abstention` of it."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure

    @property
    def abstention(self) -> Abstention:
        """The call's."""
        return Abstention(kind=self.failure.kind, reason=self.failure.reason)


def failure_of(error: Exception, *, secret: str, has_answered: bool) -> Failure:
    """Return what an exception of the client means.

    Args:
        error: As raised by one attempt.
        secret: The key, which a server's message may repeat.
        has_answered: The endpoint has answered before in this run; then a 403 or 404 concerns the
            text (a moderation's refusal) or passes (a server that starts again).
    """
    if isinstance(error, TimeoutError | openai.APITimeoutError):
        return _failure("timeout", "no answer in time", "retry")
    if isinstance(error, openai.APIStatusError):
        return _failure_of_status(error, secret, has_answered)
    if isinstance(error, openai.APIConnectionError):
        cause = scrubbed(f"{error.__cause__ or error}", secret)
        return _failure("unreachable", f"no connection ({cause})", "retry")
    return _failure("server_error", scrubbed(f"no valid answer ({error})", secret), "retry")


def message_of(error: openai.APIStatusError) -> str:
    """Return the server's own words."""
    body: Any = error.body
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        inner = inner if isinstance(inner, Mapping) else body
        said = inner.get("message") or inner.get("detail") or body
        return " ".join(str(said).split())
    return " ".join(str(error.message).split())


def scrubbed(text: str, secret: str) -> str:
    """Return a text short enough for a log, without the key and other secrets."""
    text = mask_secrets(text.replace(secret, "***") if secret else text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _failure_of_status(error: openai.APIStatusError, secret: str, has_answered: bool) -> Failure:
    status, headers = error.status_code, error.response.headers
    said = scrubbed(message_of(error), secret)
    if status == 401:
        return _failure("refused", _STOPPING[401], "stop")  # servers repeat parts of the key here
    if status == 429:
        words = f"{error.code or ''} {said}".lower()
        if any(word in words for word in _NO_CREDIT):
            return _failure("refused", f"{_STOPPING[402]} ({said})", "stop")
        return _failure("rate_limited", f"429: {said}", "retry", headers)
    if status == 402 or (status in _STOPPING and not has_answered):
        return _failure("refused", f"{_STOPPING[status]} ({status}: {said})", "stop")
    if status in _RETRIED:
        kind: AbstentionKind = "timeout" if status in (408, 504) else "server_error"
        return _failure(kind, f"{status}: {said}", "retry", headers)
    return _failure("refused", f"{status}: {said}", "give_up")


def _failure(
    kind: AbstentionKind, reason: str, remedy: Remedy, headers: Mapping[str, str] | None = None
) -> Failure:
    return Failure(kind=kind, reason=reason, remedy=remedy, headers=headers or {})
