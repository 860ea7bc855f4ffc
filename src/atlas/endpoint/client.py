"""One model behind an OpenAI-compatible endpoint: messages in, a reply with its cost out.

The client's own retries are off: here they share a deadline, give their place to others while they
wait, obey the endpoint's rate-limit headers together, and are counted.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import openai

from atlas.config.parts.endpoint import EndpointConfig
from atlas.endpoint.budget import Budget, Usage
from atlas.endpoint.dialect import Dialect
from atlas.endpoint.failures import CallError, Failure, failure_of, message_of
from atlas.endpoint.owner import JUDGES, Owner
from atlas.endpoint.pacing import RateLimitGate, asked_delay, retry_delay
from atlas.errors import AtlasError

_NO_KEY = "none"
"""The client insists on a key, and would take OPENAI_API_KEY, which may be another address's."""
_CHARS_PER_TOKEN = 3
"""On the safe side, for what a call reserves before it is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What a model said."""

    text: str
    finished: bool
    """It ended by itself, and wasn't cut at ``max_tokens``."""
    thoughts: str = ""
    """What the endpoint gives of them, apart from the text."""
    num_tokens: int | None = None
    """That it took to say, thoughts included; None where the endpoint doesn't tell."""
    calls: Sequence[Sequence[str]] = ()
    """Of tools: name and arguments each, as they were written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """What is asked."""

    messages: Sequence[Mapping[str, Any]]
    temperature: float
    max_tokens: int
    schema: Mapping[str, Any] | None = None
    """Of the JSON that the reply should be."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """More for the body of the request."""

    @property
    def estimate(self) -> int:
        """Tokens that the messages have, until the endpoint says."""
        return sum(len(message["content"]) for message in self.messages) // _CHARS_PER_TOKEN


class ToolsRefused(Exception):
    """The endpoint takes no tools, and says so; what is asked has to say it in words."""


class Endpoint:
    """One model. Belongs to one event loop.

    Args:
        budget: Shared by all endpoints of a run.
        owner: Who asks, for messages.
        environ: Where the key is looked up.

    Raises:
        AtlasError: The environment variable with the key isn't set.
    """

    def __init__(
        self,
        config: EndpointConfig,
        budget: Budget,
        environ: Mapping[str, str] = os.environ,
        *,
        owner: Owner = JUDGES,
    ) -> None:
        self._config, self._owner = config, owner
        self._budget = budget
        self._secret = key_of(config, environ, owner)
        self._client = openai.AsyncOpenAI(
            api_key=self._secret or _NO_KEY,
            base_url=config.base_url,
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(
                timeout=config.timeout_s,
                event_hooks={"response": [self._obey]},
                # The company's proxy, which http_proxy names, doesn't know this machine.
                trust_env=not _is_here(config.base_url),
            ),
        )
        self._dialect = Dialect(structured=config.structured_output == "auto")
        self._places = asyncio.Semaphore(config.concurrency)
        self._gate = RateLimitGate()
        self._rng = random.Random()
        self._has_answered = False
        self._opened: asyncio.Task[str] | None = None

    @property
    def name(self) -> str:
        """Model and address, for messages."""
        return f"{self._config.model or 'the model'} at {self._config.shown_url}"

    async def address(self) -> str:
        """Return what tells this endpoint's answers from another's, asking it only if need be."""
        model = self._config.model or await self.model()
        return f"{model} at {self._config.shown_url}, {self._config.max_tokens} tokens"

    async def model(self) -> str:
        """Return the model's name, asked for where the configuration gives none.

        Raises:
            AtlasError: The endpoint can't be reached, refuses the key, or serves several models.
        """
        if self._opened is None:
            self._opened = asyncio.create_task(self._open())
        return await asyncio.shield(self._opened)

    async def ask(self, call: Call) -> Reply:
        """Return a reply, after retries if need be.

        Raises:
            CallError: There is none.
            ToolsRefused: It takes no tools.
            AtlasError: No call would get one (wrong key, unknown model), or the budget is used up.
        """
        await self.model()
        deadline: float | None = None
        attempt = 0
        while True:
            async with self._places:
                await self._gate.passed()
                # A call's time begins when it may go out: those that queue don't run out of it.
                deadline = deadline or time.monotonic() + self._config.deadline_s
                outcome = await self._attempt(call, deadline, attempt)
            if isinstance(outcome, Reply):
                return outcome
            attempt += 1
            await self._wait_to_retry(outcome, attempt, deadline)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _wait_to_retry(self, failure: Failure, attempt: int, deadline: float) -> None:
        if failure.remedy == "stop":
            raise AtlasError(f"{self.name}: {failure.reason}; {self._advice()}") from None
        asked = asked_delay(failure.headers, refused=True)
        if asked:
            # Not for hours: rather have the calls fail, so that the run says that it stands still.
            self._gate.close_for(min(asked, self._config.deadline_s))
        delay = retry_delay(attempt, asked, self._rng)
        too_late = time.monotonic() + delay >= deadline
        if failure.remedy == "give_up" or attempt > self._config.max_retries or too_late:
            raise CallError(failure)
        await asyncio.sleep(delay)

    async def _attempt(self, call: Call, deadline: float, attempt: int) -> Reply | Failure:
        expected = self._usage(call.estimate, call.max_tokens, attempt)
        await self._budget.reserve(expected)
        # A refusal costs nothing; what a lost answer costs, nobody says: the prompt at least.
        actual = self._usage(0, 0, attempt)
        try:
            answer = await self._send(call, deadline)
            actual = self._usage_of(answer, call, attempt)
            return _read(answer)
        except (TimeoutError, openai.APITimeoutError) as error:
            actual = self._usage(call.estimate, 0, attempt)
            return failure_of(error, secret=self._secret, has_answered=self._has_answered)
        except (openai.OpenAIError, ValueError, RecursionError) as error:
            return failure_of(error, secret=self._secret, has_answered=self._has_answered)
        finally:
            await self._budget.settle(expected, actual)

    async def _send(self, call: Call, deadline: float) -> object:
        """Send one request; again at once where the endpoint doesn't know a part of it."""
        while True:
            arguments = self._dialect.arguments(
                max_tokens=call.max_tokens, temperature=call.temperature, schema=call.schema
            )
            seconds = min(self._config.timeout_s, max(0.01, deadline - time.monotonic()))
            said = {"model": await self.model(), "messages": list(call.messages)}
            try:
                async with asyncio.timeout(seconds):
                    # Not chat.completions.create: it checks every part of what goes out and comes
                    # back against its types, for half as much time again as all the rest.
                    answer = await self._client.post(
                        "/chat/completions",
                        cast_to=object,
                        body={**said, **arguments, **call.extra},
                    )
            except openai.APIStatusError as error:
                if self._dialect.learn(error.status_code, message_of(error), arguments):
                    continue
                if "tools" in call.extra and _is_about_tools(error):
                    raise ToolsRefused(message_of(error)) from error
                raise
            self._has_answered = True
            return answer

    async def _obey(self, response: Any) -> None:
        """Hold all calls back where the headers of an answer say that nothing is left for now."""
        if response.is_success and (asked := asked_delay(response.headers, refused=False)):
            self._gate.close_for(min(asked, self._config.deadline_s))

    async def _open(self) -> str:
        """Ask for the models that are served, which shows too that somebody is there."""
        model = self._config.model
        try:
            async with asyncio.timeout(self._config.timeout_s):
                served = [found.id async for found in self._client.models.list()]
        except (openai.OpenAIError, ValueError, TimeoutError) as error:
            failure = failure_of(error, secret=self._secret, has_answered=False)
            status = error.status_code if isinstance(error, openai.APIStatusError) else None
            # Not every endpoint lists its models; with a name at hand that is no obstacle.
            if model is None or failure.kind in ("unreachable", "timeout") or status == 401:
                raise AtlasError(f"{self.name}: {failure.reason}; {self._advice()}") from None
            return model
        if model is None and len(served) != 1:
            names = ", ".join(served[:5]) or "none"
            raise AtlasError(
                f"{self._config.shown_url} serves {len(served)} models ({names}); set "
                f"{self._owner.key('model')} to one"
            )
        return model or served[0]

    def _advice(self) -> str:
        source, owner = self._config.api_key_env, self._owner
        key = (
            f"the key in the environment variable {source}" if source else owner.key("api_key_env")
        )
        return f"check {owner.key('base_url')}, {owner.key('model')} and {key}{owner.place}"

    def _usage(self, input_tokens: int, output_tokens: int, attempt: int) -> Usage:
        config = self._config
        cost = (
            input_tokens * config.price_per_million_input_tokens
            + output_tokens * config.price_per_million_output_tokens
        ) / 1e6
        return Usage(
            calls=1,
            retries=int(attempt > 0),
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cost=cost,
        )

    def _usage_of(self, answer: object, call: Call, attempt: int) -> Usage:
        num_in, num_out = _told(answer, "prompt_tokens"), _told(answer, "completion_tokens")
        if num_in is None or num_out is None:
            num_in, num_out = call.estimate, call.max_tokens
        return self._usage(num_in, num_out, attempt)


def key_of(config: EndpointConfig, environ: Mapping[str, str], owner: Owner = JUDGES) -> str:
    """Return the endpoint's key; empty where it takes none.

    Raises:
        AtlasError: The environment variable with the key isn't set.
    """
    if config.api_key_env is None:
        return ""
    if not environ.get(config.api_key_env):
        raise AtlasError(
            f"the environment variable {config.api_key_env} isn't set; it must hold the key of "
            f"{config.shown_url} (or change {owner.key('api_key_env')})"
        )
    return environ[config.api_key_env].strip()


def _read(answer: object) -> Reply | Failure:
    """Read an answer; some servers put an error, or nothing, into a response that says 200."""
    choices = _mapping(answer).get("choices")
    choice = _mapping(choices[0]) if isinstance(choices, list) and choices else {}
    message = _mapping(choice.get("message"))
    if not message:
        return Failure(
            kind="server_error", reason="an answer without content", remedy="retry", headers={}
        )
    refusal = message.get("refusal")
    if refusal or choice.get("finish_reason") == "content_filter":
        reason = " ".join(f"the model refused: {refusal or 'content filter'}".split())[:200]
        return Failure(kind="refused", reason=reason, remedy="give_up", headers={})
    thoughts = message.get("reasoning_content") or message.get("reasoning")
    return Reply(
        text=_text(message.get("content")),
        finished=choice.get("finish_reason") != "length",
        thoughts=thoughts if isinstance(thoughts, str) else "",
        num_tokens=_told(answer, "completion_tokens"),
        calls=_calls(message.get("tool_calls")),
    )


def _calls(found: object) -> tuple[tuple[str, str], ...]:
    """Return the calls of tools in a message; what is no call is none."""
    calls = found if isinstance(found, list) else ()
    functions = [_mapping(_mapping(call).get("function")) for call in calls]
    return tuple(
        (name, given if isinstance(given, str) else json.dumps(given))
        for function in functions
        if isinstance(name := function.get("name"), str)
        for given in (function.get("arguments", "{}"),)
    )


def _is_about_tools(error: openai.APIStatusError) -> bool:
    refuses = error.status_code in (400, 404, 415, 422, 500, 501)
    return refuses and "tool" in message_of(error).lower()


def _text(content: object) -> str:
    """Return a message's content, which some servers give in parts."""
    if isinstance(content, list):
        return "".join(_text(_mapping(part).get("text")) for part in content)
    return content if isinstance(content, str) else ""


def _told(answer: object, name: str) -> int | None:
    """Return a count of the answer's usage; None where there is none that could be."""
    count = _mapping(_mapping(answer).get("usage")).get(name)
    return count if type(count) is int and count >= 0 else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _is_here(url: str | None) -> bool:
    """Return whether an address is one of this machine."""
    host = urlsplit(url or "").hostname or ""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost" or host.endswith(".localhost")
