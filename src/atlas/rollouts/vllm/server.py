"""One vLLM server as a rollout engine sees it: asked over HTTP, with a deadline on every call.

Input: an address. Output: answers, or one of two errors: `RequestLost`, after which another try may
do (nobody answers, the deadline passed, the engine inside died), and `AtlasError`, after which none
does (the server refuses what it is asked).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import openai

from atlas.errors import AtlasError
from atlas.rollouts.vllm.wire import (
    COMPLETIONS_DIALECT,
    GENERATE,
    GENERATE_DIALECT,
    Dialect,
    Sampled,
    SampleRequest,
    read_samples,
    read_scores,
    scoring_body,
)

_NO_KEY = "none"
"""The client insists on a key, and would take OPENAI_API_KEY, which is meant for another server."""
_QUOTED_CHARS = 500


class RequestLost(Exception):
    """A request without an answer: the server may be dead, or busy beyond the deadline."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerFacts:
    """What a server says of itself."""

    url: str
    model: str
    """What requests must call the model."""
    window: int
    """Most tokens of prompt and completion together."""
    version: str
    """Of vLLM; empty where the server doesn't say."""
    dialect: Dialect

    @property
    def tells_versions(self) -> bool:
        """Whether its answers say which weights sampled them."""
        return self.dialect is GENERATE_DIALECT


class VLLMServer:
    """One server. Belongs to one event loop, once `open` has been awaited in it.

    Args:
        url: Such as ``http://127.0.0.1:8000``; with ``/v1`` behind it too.
        model: What requests call the model; None: the first that is served.
        api_key: The key for generation, where the server asks for one.
        timeout_s: Deadline of one request, from sending it to its last token.
    """

    def __init__(
        self, url: str, *, model: str | None = None, api_key: str | None = None, timeout_s: float
    ) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        self.timeout_s = timeout_s
        self._model = model
        self._api_key = api_key
        self._facts: ServerFacts | None = None
        self._client: openai.AsyncOpenAI | None = None

    @property
    def facts(self) -> ServerFacts:
        """What `open` found."""
        assert self._facts is not None, "open comes first"
        return self._facts

    async def open(self, timeout_s: float = 60.0) -> ServerFacts:
        """Connect, and ask the server who it is.

        Raises:
            RequestLost: Nobody answers.
            AtlasError: It is no vLLM server, or doesn't serve the model.
        """
        if self._client is None:
            self._client = openai.AsyncOpenAI(
                api_key=self._api_key or _NO_KEY,
                base_url=self.url,
                max_retries=0,
                # Deadlines are set around each call; no proxy stands before an engine.
                http_client=openai.DefaultAsyncHttpxClient(timeout=None, trust_env=False),
            )
        listed = await self._call("GET", "/v1/models", timeout_s=timeout_s)
        served = {entry["id"]: entry for entry in _entries(listed)}
        name = self._model or next(iter(served), "")
        if name not in served:
            raise AtlasError(
                f"the server at {self.url} serves {', '.join(served) or 'no model'}, "
                f"not {name or 'any'}; give the address of the right one"
            )
        window = served[name].get("max_model_len")
        if not isinstance(window, int):
            # An adapter's entry has none of its own.
            window = next((w for e in served.values() if (w := e.get("max_model_len"))), None)
        if not isinstance(window, int):
            raise AtlasError(f"{self.url} is no vLLM server: it doesn't say how long texts may be")
        self._facts = ServerFacts(
            url=self.url,
            model=name,
            window=window,
            version=await self._version(timeout_s),
            dialect=await self._dialect(timeout_s),
        )
        return self._facts

    def use_model(self, name: str) -> None:
        """Ask for another model from now on: an adapter that was loaded meanwhile."""
        self._facts = replace(self.facts, model=name)

    async def complete(self, ask: SampleRequest) -> list[Sampled]:
        """Return the samples of one prompt.

        Raises:
            RequestLost: There is no answer.
            UnusableAnswer: It isn't what was asked for.
            AtlasError: The server refuses.
        """
        dialect = self.facts.dialect
        answer = await self._call("POST", dialect.path, dialect.body(ask, self.facts.model))
        return read_samples(dialect, answer, ask)

    async def score(self, token_ids: tuple[int, ...]) -> tuple[float, ...]:
        """Return the log-probability of every given token but the first, at temperature 1.

        Raises:
            RequestLost: There is no answer.
            UnusableAnswer: It isn't what was asked for.
            AtlasError: The server refuses.
        """
        body = scoring_body(token_ids, self.facts.model)
        return read_scores(await self._call("POST", GENERATE, body), token_ids)

    async def scores(self, texts: Sequence[tuple[int, ...]]) -> list[float]:
        """Return what `score` does of several texts, one after the other in one list."""
        found = await asyncio.gather(*(self.score(text) for text in texts))
        return [value for values in found for value in values]

    async def cached_tokens(self, token_ids: tuple[int, ...]) -> int | None:
        """Return how many tokens of a prompt the server finds computed already.

        None where it doesn't say. The prompt is in the cache afterwards.

        Raises:
            RequestLost: There is no answer.
            AtlasError: The server refuses.
        """
        body = scoring_body(token_ids, self.facts.model)
        del body["sampling_params"]["prompt_logprobs"]  # for these the cache would not be read
        answer = await self._call("POST", GENERATE, body)
        details = _inside(_inside(answer, "usage"), "prompt_tokens_details")
        found = _inside(details, "cached_tokens") or 0
        return found if isinstance(details, dict) and isinstance(found, int) else None

    async def healthy(self, timeout_s: float = 5.0) -> bool:
        """Return whether it answers and its engine lives."""
        try:
            await self._call("GET", "/health", timeout_s=timeout_s)
        except (RequestLost, AtlasError):
            return False
        return True

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _version(self, timeout_s: float) -> str:
        try:
            answer = await self._call("GET", "/version", timeout_s=timeout_s)
        except AtlasError:
            return ""
        return str(answer.get("version", "")) if isinstance(answer, dict) else ""

    async def _dialect(self, timeout_s: float) -> Dialect:
        try:
            await self._call("GET", GENERATE, timeout_s=timeout_s)
        except RequestRefused as error:
            # It takes POST only: whoever says so has it.
            return GENERATE_DIALECT if error.status == 405 else COMPLETIONS_DIALECT
        return COMPLETIONS_DIALECT

    async def _call(
        self, method: str, path: str, body: Any = None, *, timeout_s: float | None = None
    ) -> Any:
        client, seconds = self._client, timeout_s or self.timeout_s
        assert client is not None, "open comes first"
        send = client.get(path, cast_to=object) if method == "GET" else None
        try:
            async with asyncio.timeout(seconds):
                return await (send or client.post(path, cast_to=object, body=body))
        except (TimeoutError, openai.APITimeoutError):
            raise RequestLost(f"no answer within {seconds:g} s") from None
        except openai.APIStatusError as error:
            said = " ".join(str(error.body or error.message).split())
            if self._api_key:  # some servers repeat what they refuse
                said = said.replace(self._api_key, "***")
            said = said[:_QUOTED_CHARS]
            if error.status_code >= 500 or error.status_code == 429:
                raise RequestLost(f"it answered {error.status_code}: {said}") from None
            raise RequestRefused(self.url, path, error.status_code, said) from None
        except (openai.OpenAIError, ValueError) as error:
            cause = error.__cause__ or error
            raise RequestLost(
                f"the connection failed ({str(cause) or type(cause).__name__})"
            ) from None


class RequestRefused(AtlasError):
    """The server won't do what it is asked, however often."""

    def __init__(self, url: str, path: str, status: int, said: str) -> None:
        super().__init__(f"the server at {url} answered {path} with {status}: {said}")
        self.status = status


def _entries(listed: Any) -> list[dict[str, Any]]:
    entries = _inside(listed, "data")
    entries = entries if isinstance(entries, list) else []
    return [entry for entry in entries if isinstance(_inside(entry, "id"), str)]


def _inside(answer: Any, name: str) -> Any:
    return answer.get(name) if isinstance(answer, dict) else None
