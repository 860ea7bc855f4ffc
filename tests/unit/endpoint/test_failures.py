from __future__ import annotations

import httpx2
import openai
import pytest

from atlas.endpoint.failures import failure_of

KEY = "sk-very-secret"
REQUEST = httpx2.Request("POST", "http://x/v1")


def refusal(status: int, message: str = "no", code: str | None = None) -> openai.APIStatusError:
    response = httpx2.Response(status, headers={"retry-after": "3"}, request=REQUEST)
    body = {"message": message, "code": code}
    return openai.APIStatusError(message, response=response, body=body)


@pytest.mark.parametrize(
    ("error", "kind", "remedy"),
    [
        (TimeoutError(), "timeout", "retry"),
        (openai.APITimeoutError(request=REQUEST), "timeout", "retry"),
        (openai.APIConnectionError(request=REQUEST), "unreachable", "retry"),
        (ValueError("not JSON"), "server_error", "retry"),
        (refusal(429), "rate_limited", "retry"),
        (refusal(429, "You exceeded your quota", "insufficient_quota"), "refused", "stop"),
        (refusal(408), "timeout", "retry"),
        (refusal(504), "timeout", "retry"),
        (refusal(500), "server_error", "retry"),
        (refusal(529), "server_error", "retry"),
        (refusal(400, "maximum context length"), "refused", "give_up"),
        (refusal(401), "refused", "stop"),
        (refusal(402), "refused", "stop"),
        (refusal(403), "refused", "stop"),
        (refusal(404), "refused", "stop"),
    ],
)
def test_what_each_failure_means(error: Exception, kind: str, remedy: str) -> None:
    failure = failure_of(error, secret=KEY, has_answered=False)
    assert (failure.kind, failure.remedy) == (kind, remedy)


@pytest.mark.parametrize(("status", "remedy"), [(403, "give_up"), (404, "give_up"), (401, "stop")])
def test_an_endpoint_that_has_answered_is_set_up_right(status: int, remedy: str) -> None:
    assert failure_of(refusal(status), secret=KEY, has_answered=True).remedy == remedy


def test_the_key_is_in_no_reason() -> None:
    said = f"Incorrect API key provided: {KEY}"
    for status in (400, 401, 403, 429, 500):
        failure = failure_of(refusal(status, said), secret=KEY, has_answered=False)
        assert KEY not in failure.reason
    partly = failure_of(
        refusal(401, "Incorrect API key: sk-v***ret"), secret=KEY, has_answered=True
    )
    assert "sk-v" not in partly.reason


def test_a_refusal_brings_its_headers() -> None:
    assert failure_of(refusal(429), secret="", has_answered=True).headers["retry-after"] == "3"
