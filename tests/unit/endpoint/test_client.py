"""Against a local endpoint over HTTP; waits are cut to nothing, so that only their order counts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.endpoint.chat_server import FAULTS, Answer, ChatServer, error, fault_of, says
from tests.unit.rewards.judge_server import agree

from atlas.config.parts.endpoint import EndpointConfig
from atlas.endpoint import client, pacing
from atlas.endpoint.budget import Budget, Usage
from atlas.endpoint.client import Call, Endpoint, Reply
from atlas.endpoint.failures import CallError
from atlas.errors import AtlasError

MESSAGES = [
    {"role": "system", "content": "the text 0a1b2c3d4e5f, please"},
    {"role": "user", "content": "x" * 300},
]
SCHEMA = {"type": "object"}
CALL = Call(messages=MESSAGES, temperature=0.5, max_tokens=1024, schema=SCHEMA)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "BASE_S", 0.001)


def ask(
    server: ChatServer,
    times: int = 1,
    budget: Budget | None = None,
    environ: dict[str, str] | None = None,
    **settings: Any,
) -> tuple[list[Reply | CallError], Usage]:
    """Ask so many times side by side; returns what came back and what it cost."""
    config = EndpointConfig(**{"base_url": server.url, **settings})

    async def run() -> tuple[list[Reply | CallError], Usage]:
        spending = budget or Budget()
        endpoint = Endpoint(config, spending, environ or {})
        calls = (endpoint.ask(CALL) for _ in range(times))
        found = await asyncio.gather(*calls, return_exceptions=True)
        await endpoint.close()
        for item in found:
            if isinstance(item, BaseException) and not isinstance(item, CallError):
                raise item
        return found, spending.spent  # type: ignore[return-value]

    return asyncio.run(run())


def always(answer: Answer) -> Callable[[dict, int], Answer]:
    return lambda request, number: answer


def script(*answers: Answer) -> Callable[[dict, int], Answer]:
    """These answers first, then agreement."""
    return lambda request, number: answers[number] if number < len(answers) else agree(request)


def test_a_reply_with_its_cost() -> None:
    with ChatServer(always(says("Fine."))) as server:
        prices = {"price_per_million_input_tokens": 10, "price_per_million_output_tokens": 100}
        (reply,), spent = ask(server, **prices)
    assert reply == Reply(text="Fine.", finished=True, num_tokens=60)
    assert spent == Usage(calls=1, input_tokens=300, output_tokens=60, cost=pytest.approx(0.009))
    (request,) = server.requests
    assert (request["model"], request["temperature"]) == ("judge-model", 0.5)
    assert request["response_format"]["json_schema"]["schema"] == SCHEMA
    assert request["messages"] == MESSAGES


def test_failures_that_may_pass_are_retried_and_counted() -> None:
    answers = (error(503, "busy"), error(429, "slow down"), Answer(body="<html>"), Answer(body={}))
    with ChatServer(script(*answers)) as server:
        (reply,), spent = ask(server)
    assert isinstance(reply, Reply)
    assert (spent.calls, spent.retries, len(server.requests)) == (5, 4, 5)


@pytest.mark.parametrize("fault", FAULTS, ids=[fault["name"] for fault in FAULTS])
def test_a_fault_is_a_reply_a_failure_or_the_end(fault: dict[str, Any]) -> None:
    """What may pass is tried again, and only that; a lie about tokens refunds nothing."""
    settings = {"timeout_s": fault.get("timeout_s", 60), "max_retries": 1}
    with ChatServer(always(fault_of(fault))) as server:
        if fault["outcome"] == "stops":
            with pytest.raises(AtlasError):
                ask(server, **settings)
            return
        (found,), spent = ask(server, **settings)
        num_requests = len(server.requests)
    if fault["outcome"] == "answered":
        assert isinstance(found, Reply)
        assert found.text == "Answer: 6"
    else:
        assert isinstance(found, CallError)
        assert found.abstention.kind == fault["outcome"]
    once = fault["outcome"] in ("answered", "refused") or "tomorrow" in fault["name"]
    assert num_requests == (1 if once else 2)
    assert spent.calls == num_requests
    assert min(spent.input_tokens, spent.output_tokens) >= 0


def test_a_call_is_given_up_after_its_retries() -> None:
    with ChatServer(always(error(503, "busy"))) as server:
        (failed,), spent = ask(server, max_retries=2)
    assert isinstance(failed, CallError)
    assert (failed.failure.kind, failed.failure.reason) == ("server_error", "503: busy")
    assert (spent.calls, spent.retries, spent.cost) == (3, 2, 0)


def test_a_call_is_given_up_at_its_deadline() -> None:
    with ChatServer(always(Answer(body={}, delay_s=30))) as server:
        (failed,), spent = ask(server, timeout_s=20, deadline_s=0.05)
    assert isinstance(failed, CallError)
    assert failed.failure.kind == "timeout"
    assert (spent.calls, spent.input_tokens) == (1, 109)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (error(400, "maximum context length"), "400: maximum context length"),
        (says("", message={"refusal": "I'd rather not."}), "refused: I'd rather not."),
        (says("", finish_reason="content_filter"), "refused: content filter"),
    ],
)
def test_what_concerns_this_text_alone_is_not_retried(answer: Answer, reason: str) -> None:
    with ChatServer(always(answer)) as server:
        (failed,), spent = ask(server)
    assert isinstance(failed, CallError)
    assert reason in failed.failure.reason
    assert spent.calls == 1


def test_a_reply_that_was_cut_says_so() -> None:
    with ChatServer(always(says('{"a', finish_reason="length"))) as server:
        (reply,), _ = ask(server)
    assert reply == Reply(text='{"a', finished=False, num_tokens=60)


def test_a_refused_schema_is_left_out_from_then_on() -> None:
    def answer(request: dict, number: int) -> Answer:
        if "response_format" in request:
            return error(400, "response_format is not supported")
        return agree(request)

    with ChatServer(answer) as server:
        replies, spent = ask(server, times=3, concurrency=1)
    assert all(isinstance(reply, Reply) for reply in replies)
    assert ["response_format" in request for request in server.requests] == [True] + [False] * 3
    assert spent.retries == 0


def test_no_more_calls_than_allowed_are_on_their_way() -> None:
    def answer(request: dict, number: int) -> Answer:
        return Answer(body=agree(request).body, delay_s=0.01)

    with ChatServer(answer) as server:
        ask(server, times=20, concurrency=3)
    assert server.most_together == 3


def test_a_rate_limit_holds_back_all_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """One call is told to wait; the gate that all go through is closed for as long."""
    closed: list[float] = []
    monkeypatch.setattr(
        client.RateLimitGate, "close_for", lambda self, seconds: closed.append(seconds)
    )
    answers = (
        error(429, "slow down", headers={"retry-after": "0.02"}),
        Answer(
            body=says("ok").body,
            headers={"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "30ms"},
        ),
    )
    with ChatServer(script(*answers)) as server:
        ask(server)
    assert closed == [0.02, pytest.approx(0.03)]


def test_a_wait_of_hours_is_an_abstention_and_no_silence() -> None:
    with ChatServer(always(error(429, "tomorrow", headers={"retry-after": "86400"}))) as server:
        (failed,), _ = ask(server, deadline_s=5)
    assert isinstance(failed, CallError)
    assert failed.failure.kind == "rate_limited"


def test_the_key_goes_to_the_endpoint_and_nowhere_else(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    environ = {"MY_KEY": "sk-very-secret"}
    refusal = error(400, "bad key sk-very-secret")
    with ChatServer(always(refusal)) as server:
        (failed,), _ = ask(server, environ=environ, api_key_env="MY_KEY")
    assert set(server.keys) == {"Bearer sk-very-secret"}
    assert "sk-very-secret" not in caplog.text
    assert "***" in str(failed)


def test_another_addresses_key_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-somebody-else")
    with ChatServer(always(says("ok"))) as server:
        ask(server)
    assert set(server.keys) == {"Bearer none"}


def test_a_missing_key_is_named_by_its_variable() -> None:
    server = ChatServer(always(says("ok")))
    with server, pytest.raises(AtlasError, match="environment variable MY_KEY isn't set"):
        ask(server, api_key_env="MY_KEY")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (error(401, "Incorrect API key sk-very-secret"), "the key is refused; .* variable MY_KEY"),
        (error(404, "no model m"), "nothing is there under .* no model m"),
        (error(429, "out of quota", code="insufficient_quota"), "no credit left"),
    ],
)
def test_what_no_call_would_survive_stops_the_run(answer: Answer, says: str) -> None:
    environ = {"MY_KEY": "sk-very-secret"}
    server = ChatServer(always(answer), models=None)
    with server, pytest.raises(AtlasError, match=says) as caught:
        ask(server, environ=environ, api_key_env="MY_KEY", model="m")
    assert "sk-very-secret" not in str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("models", "says"),
    [((), "serves 0 models"), (("a", "b"), r"serves 2 models \(a, b\); set mod")],
)
def test_a_model_is_not_guessed(models: tuple[str, ...], says: str) -> None:
    server = ChatServer(always(error(500, "")), models=models)
    with server, pytest.raises(AtlasError, match=says):
        ask(server)


def test_nobody_there_is_said_at_once() -> None:
    with ChatServer(always(says("ok"))) as server:
        url = server.url
    with pytest.raises(AtlasError, match=f"m at {url}: no connection"):
        ask(server, base_url=url, model="m")


def test_a_proxy_is_not_asked_for_a_judge_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")  # nobody is there
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with ChatServer(always(says("Fine."))) as server:
        (reply,), _ = ask(server)
    assert isinstance(reply, Reply)


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:8000/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://localhost/v1", True),
        ("https://api.example.com/v1", False),
        ("http://10.0.0.1/v1", False),
        ("http://localhost.example.com/v1", False),
    ],
)
def test_which_addresses_are_this_machine_s(url: str, here: bool) -> None:
    assert client._is_here(url) is here
