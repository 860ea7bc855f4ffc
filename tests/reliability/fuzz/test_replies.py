"""What others reply: judges and their cache, servers of models, the hub."""

from __future__ import annotations

import asyncio
import json
import types
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reliability.fuzz.broken import (
    as_json,
    documents,
    fuzz,
    mutated,
    refused,
    shows,
    texts,
    values,
)

from atlas.config.parts.endpoint import EndpointConfig
from atlas.endpoint.client import Reply, _read
from atlas.endpoint.failures import Failure, failure_of
from atlas.endpoint.pacing import asked_delay
from atlas.errors import AtlasError, one_line
from atlas.from_scratch.data.hub import _LeftOutError, _record
from atlas.rewards.judges.judge import _VerdictForm, verdict_of
from atlas.rewards.judges.quoting import quote, unquote
from atlas.rewards.judges.verdict import JudgeVerdict, UnreadableError, read_verdict
from atlas.rollouts.generator import Sampling
from atlas.rollouts.vllm.server import VLLMServer
from atlas.rollouts.vllm.wire import (
    COMPLETIONS_DIALECT,
    GENERATE_DIALECT,
    SampleRequest,
    UnusableAnswer,
    read_samples,
    read_scores,
)
from atlas.serve.checks import check_head_size, checked_config, heads_of, longest
from atlas.serve.connection import Connection, _decoded, _said
from atlas.serve.control import ControlClient
from atlas.serve.token import find_token

VERDICT: dict[str, Any] = {
    "nonce": "a1",
    "principles": [{"name": "right", "weight": 0.7}, {"name": "clear", "weight": 0.3}],
    "rationale": "Right.",
    "score": 0.8,
    "uncertainty": 0.1,
}
CHAT: dict[str, Any] = {
    "choices": [{"message": {"content": "5", "refusal": None}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 5},
}
GENERATED: dict[str, Any] = {
    "choices": [
        {
            "index": 0,
            "token_ids": [9, 1],
            "logprobs": {"content": [{"logprob": -0.5}, {"logprob": -0.1}]},
            "finish_reason": "stop",
            "weight_versions": [{"version": "3"}],
        }
    ],
    "prompt_logprobs": [None, {"5": {"logprob": -1.0}}, {"6": {"logprob": -2.0}}],
    "usage": {"prompt_tokens_details": {"cached_tokens": 1}},
}
COMPLETED: dict[str, Any] = {
    "choices": [
        {
            "index": 0,
            "token_ids": [9, 1],
            "logprobs": {"token_logprobs": [-0.5, -0.1]},
            "finish_reason": "length",
        }
    ]
}
ROW: dict[str, Any] = {
    "instruction": "2 + 3?",
    "completions": [
        {"response": "5", "overall_score": 9.0},
        {"response": "6", "overall_score": 1.0},
    ],
}
PAIR: dict[str, Any] = {
    "prompt": "2 + 3?",
    "chosen": [{"role": "user", "content": "2 + 3?"}, {"role": "assistant", "content": "5"}],
    "rejected": [{"role": "user", "content": "2 + 3?"}, {"role": "assistant", "content": "6"}],
    "score_chosen": 9.0,
    "score_rejected": 1.0,
}
CONFIG: dict[str, Any] = {
    "text_config": {"max_position_embeddings": 2048, "num_attention_heads": 4},
    "max_position_embeddings": 2048,
    "rope_scaling": {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 9},
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}


@fuzz(250)
@given(
    documents(VERDICT).map(lambda content: content.decode("utf-8", "replace")),
    st.sampled_from(["{}", "<think>{}</think>{}", "```json\n{}\n```", "{}{}", "[{}]", "{{{}"]),
)
def test_a_judges_reply(content: str, form: str) -> None:
    text = form.replace("{}", content)
    verdict = refused(read_verdict, text, nonce="a1", kind=UnreadableError)
    if verdict is not None:
        assert 0 <= verdict.score <= 1
        assert abs(sum(principle.weight for principle in verdict.principles) - 1) < 1e-6
        verdict.rationale.encode()
    said = verdict_of(Reply(text=text, finished=False), "a1")
    assert isinstance(said, JudgeVerdict) or said.reason


@fuzz()
@given(documents(VERDICT | {"nonce": "other"}))
def test_a_verdict_without_the_nonce_never_counts(content: bytes) -> None:
    with pytest.raises(UnreadableError):
        read_verdict(content.decode("utf-8", "replace"), nonce="9c1fe0")


@fuzz()
@given(documents({name: value for name, value in VERDICT.items() if name != "nonce"}))
def test_a_verdict_in_the_cache(content: bytes) -> None:
    found = _VerdictForm().read(content.decode("utf-8", "replace"))
    assert found is None or 0 <= found.score <= 1


@fuzz()
@given(mutated(CHAT))
def test_an_endpoints_answer(answer: Any) -> None:
    found = _read(answer)
    assert isinstance(found, Reply | Failure)
    if isinstance(found, Failure):
        assert shows(one_line(found.reason))


@fuzz()
@given(values, st.sampled_from([400, 401, 402, 403, 404, 408, 429, 500, 503]), st.booleans())
def test_an_endpoints_refusal(body: Any, status: int, answered: bool) -> None:
    request = httpx.Request("POST", "http://127.0.0.1/v1")
    error = openai.APIStatusError("x", response=httpx.Response(status, request=request), body=body)
    failure = failure_of(error, secret="Pl4nted", has_answered=answered)
    assert len(failure.reason) < 400


@fuzz()
@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "x"]), texts), texts)
def test_what_an_endpoint_asks_to_wait(headers: dict[str, str], reset: str) -> None:
    headers |= {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": reset}
    delay = asked_delay(headers, refused=True)
    assert delay is None or delay >= 0


@fuzz()
@given(mutated({"prompt": "2 + 3?", "response": "5", "opinions": [{"score": 0.5}]}))
def test_what_is_quoted_comes_back(material: Any) -> None:
    if not isinstance(material, dict) or material != material:
        return
    try:
        whole = json.loads(json.dumps(material, allow_nan=False))
    except (ValueError, RecursionError):
        return
    line = quote(whole, max_chars=10**6)
    assert shows(line[:4000])
    assert line.isprintable()
    assert unquote(f"BEGIN f1\n{line}\nEND f1", "f1") == whole


ASKED = SampleRequest(prompt=[5, 6], sampling=Sampling(max_new_tokens=2), limit=2)


@fuzz(250)
@given(mutated(GENERATED) | mutated(COMPLETED))
def test_a_servers_samples(answer: Any) -> None:
    for dialect in (GENERATE_DIALECT, COMPLETIONS_DIALECT):
        for one in refused(read_samples, dialect, answer, ASKED, kind=UnusableAnswer) or []:
            assert all(type(token) is int for token in one.token_ids)
            assert all(isinstance(logprob, float | int) for logprob in one.logprobs)
            assert all(isinstance(version, str) for version in one.versions)


@fuzz()
@given(mutated(GENERATED))
def test_a_servers_scores(answer: Any) -> None:
    scores = refused(read_scores, answer, [4, 5, 6], kind=UnusableAnswer)
    assert scores is None or all(isinstance(score, float | int) for score in scores)


@fuzz()
@given(mutated({"data": [{"id": "policy", "max_model_len": 64}], "version": "1"}))
def test_what_a_server_says_of_itself(answer: Any) -> None:
    server = VLLMServer("http://127.0.0.1:1", timeout_s=1.0)

    async def call(*_: Any, **__: Any) -> Any:
        return answer

    server._call = call
    facts = refused(lambda: asyncio.run(server.open()))
    assert facts is None or isinstance(facts.model, str)
    server._facts = types.SimpleNamespace(model="policy")  # type: ignore[assignment]
    refused(lambda: asyncio.run(server.cached_tokens((5, 6))))


WORKERS: dict[str, Any] = {
    "results": [{"version": 3, "dtype": "float32", "rank": 0, "error": "", "loaded": True}],
    "success": True,
}


@fuzz()
@given(mutated(WORKERS))
def test_a_control_endpoints_answer(answer: Any) -> None:
    client = ControlClient("http://127.0.0.1:1", token="t")
    client._connection._call = lambda *_: answer  # type: ignore[method-assign]
    version = refused(client.version)
    assert version is None or isinstance(version, int)
    refused(client.reset_prefix_cache)


@fuzz()
@given(documents({"error": {"message": "no"}, "detail": "no"}) | texts.map(as_json))
def test_what_a_server_says_when_it_fails(content: bytes) -> None:
    text = content.decode(errors="replace")
    _decoded(text)
    assert isinstance(_said(text), str)


@fuzz()
@given(texts | st.text("[]:@/?#%.-_a1 \u00e9", max_size=12))
def test_an_address_of_a_server(text: str) -> None:
    for url in (text, f"http://{text}", f"http://h:{text}", f"http://[{text}]/v1"):
        if refused(Connection, url, "token") is not None:
            httpx.URL(url)
        refused(EndpointConfig, base_url=url)
        refused(find_token, url, {})


@fuzz()
@given(mutated(ROW) | mutated(PAIR))
def test_a_ranked_row_of_the_hub(row: Any) -> None:
    if isinstance(row, dict):
        refused(_record, row, "rows, row 0", kind=(AtlasError, _LeftOutError))


@fuzz()
@given(mutated(CONFIG))
def test_the_configuration_of_a_model_to_serve(config: Any) -> None:
    if isinstance(config, dict) and refused(checked_config, config, Path("config.json")):
        assert longest(config) is None or longest(config) >= 0  # type: ignore[operator]
        heads_of(config)
        refused(check_head_size, "model", config)
