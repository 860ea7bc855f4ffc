"""The judges against a real vLLM server: what its tokenizer and its schemas make of attacks."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from tests.serving.conftest import ROOT, SPECIAL_TOKENS

from atlas.config.parts.endpoint import EndpointConfig
from atlas.config.rim import RIMConfig, RIMSettings
from atlas.rewards.judges import judge as judge_module
from atlas.rewards.judges.judge import Judge, judge_messages
from atlas.rewards.judges.rim import RIMReward
from atlas.rewards.judges.verdict import verdict_schema

LINES = (
    (ROOT / "tests" / "unit" / "rewards" / "judges" / "injection_attacks.jsonl")
    .read_text()
    .splitlines()
)
ATTACKS = {attack["name"]: attack["text"] for attack in map(json.loads, LINES)}
FENCE, NONCE = "0123456789abcdef", "0a1b2c3d4e5f"
JUDGE = Judge(name="process", criteria="Is the reasoning good?")


def messages(response: str) -> list[dict[str, str]]:
    return judge_messages(
        JUDGE,
        {"prompt": "Calculate 3 + 4.", "response": response},
        fence=FENCE,
        nonce=NONCE,
        max_chars=2000,
    )


def tokenize(url: str, asked: list[dict[str, str]]) -> list[int]:
    """The ids that the server makes of messages, its chat template applied."""
    body = json.dumps({"model": "judge", "messages": asked}).encode()
    request = urllib.request.Request(
        f"{url}/tokenize", data=body, headers={"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)["tokens"]


@pytest.fixture(scope="session")
def special_ids(judge_model: Path) -> set[int]:
    added = json.loads((judge_model / "tokenizer.json").read_text())["added_tokens"]
    assert {token["content"] for token in added} >= set(SPECIAL_TOKENS)
    return {token["id"] for token in added}


def rim(url: str, **settings: Any) -> RIMReward:
    config = RIMConfig(
        active_judges={"process": True},
        small=EndpointConfig(base_url=f"{url}/v1", max_tokens=settings.pop("max_tokens", 64)),
        settings=RIMSettings(
            temperatures=(0.5,), cache_path=None, max_chars=2000, max_abstention_rate=1, **settings
        ),
    )
    return RIMReward(config=config)


def test_the_server_reads_no_special_token_in_an_attack(
    vllm_url: str, special_ids: set[int]
) -> None:
    def specials(asked: list[dict[str, str]]) -> list[int]:
        return [token for token in tokenize(vllm_url, asked) if token in special_ids]

    plain = specials(messages("Add 3 to 4."))
    found = {name: specials(messages(text)) for name, text in ATTACKS.items()}
    assert {name: ids for name, ids in found.items() if ids != plain} == {}
    # Without the quotation they would be read as such: the test can fail.
    bare = [name for name, text in ATTACKS.items() if _bare(text, specials) != len(plain)]
    assert len(bare) >= 12


def _bare(text: str, specials: Any) -> int:
    system, user = messages("?")
    text = text.encode("utf-8", "replace").decode()
    return len(specials([system, {**user, "content": user["content"].replace("?", text)}]))


def test_no_attack_gets_a_score_from_a_model_that_understands_nothing(vllm_url: str) -> None:
    """Random weights babble within the schema; none of it repeats the nonce."""
    with rim(vllm_url) as reward:
        results = reward.evaluate_batch(["Calculate 3 + 4."] * len(ATTACKS), list(ATTACKS.values()))
        metrics = reward.report().metrics
    assert [result.score for result in results] == [None] * len(ATTACKS)
    assert metrics["judges/abstained/unreadable"] == metrics["judges/calls"] == len(ATTACKS)
    assert metrics["judges/output_tokens"] > len(ATTACKS)


def test_a_verdict_by_the_servers_schema_counts(
    vllm_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The schema is narrowed until even random weights can only write a verdict with the nonce."""

    def narrowed() -> dict[str, Any]:
        schema = verdict_schema()
        properties = schema["properties"]
        properties["nonce"] = {"type": "string", "enum": [NONCE]}
        properties["rationale"] = {"type": "string", "enum": ["It is clear."]}
        for place in (properties["score"], properties["uncertainty"]):
            place.clear()
            place["enum"] = [0.25]
        principle = properties["principles"]["items"]["properties"]
        principle["name"] = {"type": "string", "enum": ["clear"]}
        principle["weight"] = {"enum": [0.5]}
        return schema

    monkeypatch.setattr(judge_module, "verdict_schema", narrowed)
    monkeypatch.setattr(judge_module.secrets, "token_hex", lambda n: NONCE if n == 6 else FENCE)
    with rim(vllm_url, max_tokens=400) as reward:
        result = reward.evaluate(prompt="Calculate 3 + 4.", response=ATTACKS["chatml"])
    assert result.score == 0.25, result.rationale
    assert result.rationale == "process: It is clear."
