"""The whole of RIM against a local endpoint over HTTP."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.endpoint.chat_server import Answer, ChatServer, error, says
from tests.unit.rewards.judge_server import agree, nonce_of, verdict_text

from atlas.config.rim import parse_rim_config
from atlas.endpoint import outage, pacing
from atlas.endpoint.budget import Usage
from atlas.errors import AtlasError
from atlas.rewards.judges.rim import RIMReward

Answering = Callable[[dict[str, Any], int], Answer]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "BASE_S", 0.001)
    monkeypatch.setattr(outage, "FIRST_WAIT_S", 0.001)


def rim(url: str, **settings: Any) -> RIMReward:
    content = {
        "active_judges": {"helpfulness": True, "process": True},
        "small": {"base_url": url, "model": "small"},
        "cache_path": None,
        **settings,
    }
    said = content.pop("said", None)
    spent = content.pop("spent", None)
    config = parse_rim_config(content)
    return RIMReward(
        config=config, spent=spent, **({"say": said.append} if said is not None else {})
    )


def judge_of(request: dict[str, Any]) -> str:
    system = request["messages"][0]["content"]
    return "process" if "How good is the reasoning" in system else "helpfulness"


def by_judge(**scores: float) -> Answering:
    return lambda request, number: agree(request, scores[judge_of(request)])


def test_a_response_is_judged_by_every_active_judge() -> None:
    answer = by_judge(helpfulness=0.9, process=0.6)
    weights = {"judges": {"helpfulness": {"weight": 2}}}
    with ChatServer(answer) as server, rim(server.url, **weights) as reward:
        result = reward.evaluate(prompt="Calculate 3 + 4.", response="Add them.", reference="7")
    assert result.score == pytest.approx(0.8)
    assert result.judge_scores == pytest.approx({"helpfulness": 0.9, "process": 0.6})
    assert result.rationale == "helpfulness: Clear and true.\nprocess: Clear and true."
    assert result.to_score().value == result.score
    assert len(server.requests) == 6
    assert sorted(request["temperature"] for request in server.requests) == [
        0.2,
        0.2,
        0.5,
        0.5,
        0.8,
        0.8,
    ]
    material = json.loads(server.requests[0]["messages"][1]["content"].splitlines()[1])
    assert material == {"prompt": "Calculate 3 + 4.", "reference": "7", "response": "Add them."}


def test_it_works_inside_an_event_loop_both_ways() -> None:
    async def both(reward: RIMReward) -> list[float | None]:
        first = reward.evaluate(prompt="p", response="one")
        second = await reward.evaluate_async(prompt="p", response="two")
        return [first.score, second.score]

    with ChatServer(by_judge(helpfulness=0.4, process=0.6)) as server, rim(server.url) as reward:
        assert asyncio.run(both(reward)) == [0.5, 0.5]


def test_a_batch_keeps_its_order() -> None:
    def answer(request: dict[str, Any], number: int) -> Answer:
        material = json.loads(request["messages"][1]["content"].splitlines()[1])
        return agree(request, float(material["response"]))

    scores = [0.1, 0.9, 0.5, 0.3]
    with ChatServer(answer) as server, rim(server.url) as reward:
        results = reward.evaluate_batch(["p"] * 4, [str(score) for score in scores])
        with pytest.raises(ValueError, match="zip"):
            reward.evaluate_batch(["p"], [])
    assert [result.score for result in results] == pytest.approx(scores)


def test_a_dispute_goes_to_the_large_model() -> None:
    def answer(request: dict[str, Any], number: int) -> Answer:
        if request["model"] == "large":
            return agree(request, 0.7, 0.4)
        return agree(request, {0.2: 0.1, 0.5: 0.9, 0.8: 0.5}[request["temperature"]])

    with ChatServer(answer) as server:
        large = {"base_url": server.url, "model": "large"}
        with rim(server.url, large=large) as reward:
            result = reward.evaluate(prompt="p", response="r")
            metrics = reward.report().metrics
    assert (result.score, result.escalated) == (0.7, True)
    assert result.judges["process"].escalation_reason == "scores deviate by 0.327"
    assert (metrics["escalation_rate"], metrics["rim_rewards"]) == (1.0, 0.7)
    asked = [request for request in server.requests if request["model"] == "large"]
    assert len(asked) == 2
    assert '"opinions": [{"principles"' in asked[0]["messages"][1]["content"]


def test_judging_overlaps_the_generation_of_the_next_group() -> None:
    events: list[str] = []
    arrived, generated = threading.Event(), threading.Event()

    def answer(request: dict[str, Any], number: int) -> Answer:
        events.append("a judge is asked")
        arrived.set()
        return Answer(body=agree(request).body, held_until=generated)

    one = {"active_judges": {"process": True}, "temperatures": [0.5]}
    with ChatServer(answer) as server, rim(server.url, **one) as reward:
        pending = reward.submit(prompt="p", response="r")
        assert arrived.wait(20)
        events.append("the next group is generated")
        assert not pending.done()
        generated.set()
        assert pending.result(20).score == 0.8
        events.append("the verdict is used")
    assert events == ["a judge is asked", "the next group is generated", "the verdict is used"]


def test_the_same_question_is_free_also_after_a_restart(tmp_path: Path) -> None:
    settings = {"cache_path": str(tmp_path / "cache.sqlite")}
    with ChatServer(by_judge(helpfulness=0.9, process=0.6)) as server:
        with rim(server.url, **settings) as reward:
            first = reward.evaluate(prompt="p", response="r")
        with rim(server.url, **settings) as reward:
            again = reward.evaluate(prompt="p", response="r")
            metrics = reward.report().metrics
            assert len(server.requests) == 6
            reward.evaluate(prompt="p", response="another")
        assert len(server.requests) == 12
        with rim(server.url, cache_path=None) as reward:
            reward.evaluate(prompt="p", response="r")
        reward.evaluate(prompt="p", response="later")
        reward.close()
        assert reward.report().metrics["judges/calls"] == 12
    assert again == first
    assert (metrics["judges/cached"], metrics["judges/calls"]) == (6, 0)
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert not any(nonce_of(request).encode() in kept for request in server.requests)


def test_the_same_question_side_by_side_is_asked_once() -> None:
    with ChatServer(by_judge(helpfulness=0.9, process=0.6)) as server, rim(server.url) as reward:
        results = reward.evaluate_batch(["p"] * 5, ["r"] * 5)
    assert len(server.requests) == 6
    assert {result.score for result in results} == {0.75}


def test_a_failed_judge_is_an_abstention_and_no_zero() -> None:
    def answer(request: dict[str, Any], number: int) -> Answer:
        if judge_of(request) == "process":
            return says("I would rather talk about something else.")
        return agree(request)

    with ChatServer(answer) as server, rim(server.url) as reward:
        result = reward.evaluate(prompt="p", response="r")
        metrics = reward.report().metrics
    assert (result.score, result.judge_scores) == (None, {"helpfulness": 0.8})
    assert result.to_score().reason.startswith("process: no sample gave a verdict; unreadable: ")
    assert (metrics["rim_abstention_rate"], metrics["judges/abstention_rate"]) == (1.0, 0.5)
    assert metrics["judges/abstained/unreadable"] == 3
    assert "rim_rewards" not in metrics


def test_a_model_that_copies_the_response_gives_no_score() -> None:
    attack = verdict_text("a1b2c3d4e5f6", 1.0)

    def answer(request: dict[str, Any], number: int) -> Answer:
        return says(json.loads(request["messages"][1]["content"].splitlines()[1])["response"])

    with ChatServer(answer) as server, rim(server.url) as reward:
        result = reward.evaluate(prompt="p", response=attack)
    assert result.score is None
    assert "a verdict without the call's nonce" in result.rationale


def test_the_budget_stops_the_run_and_counts_what_was_spent_before() -> None:
    settings = {"max_calls": 20, "spent": Usage(calls=10)}
    server = ChatServer(by_judge(helpfulness=0.9, process=0.6))
    with server, rim(server.url, **settings) as reward:
        reward.evaluate(prompt="p", response="r")
        with pytest.raises(AtlasError, match="the judges' budget is used up: 20 calls"):
            reward.evaluate_batch(["p"] * 9, [str(i) for i in range(9)])
        assert reward.spent.calls == 20
    assert len(server.requests) == 10


def test_an_outage_pauses_and_then_the_run_goes_on() -> None:
    said: list[str] = []

    def answer(request: dict[str, Any], number: int) -> Answer:
        return error(503, "down") if number < 13 else agree(request)

    down = {"base_url": "", "model": "small", "max_retries": 0, "concurrency": 1}
    with ChatServer(answer) as server:
        settings = {"small": {**down, "base_url": server.url}, "abstention_window": 10}
        with rim(server.url, said=said, **settings) as reward:
            results = reward.evaluate_batch(["p"] * 20, [str(i) for i in range(20)])
    assert [line.split(":")[0] for line in said] == [
        "calls of the judges pause",
        "calls of the judges go on",
    ]
    assert "503: down" in said[0]
    assert results[-1].score == pytest.approx(0.8)


def test_an_outage_that_lasts_stops_the_run_with_what_failed() -> None:
    said: list[str] = []
    server = ChatServer(lambda request, number: error(503, "down"))
    small = {"base_url": server.url, "model": "small", "max_retries": 0}
    settings = {"small": small, "abstention_window": 6, "outage_deadline_s": 0}
    stops = pytest.raises(AtlasError, match=r"small at http.* no answer .*503: down")
    with server, rim(server.url, said=said, **settings) as reward, stops:
        reward.evaluate_batch(["p"] * 20, [str(i) for i in range(20)])
    assert len(said) == 1


def test_a_missing_key_is_said_before_anything_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ATLAS_TEST_KEY", raising=False)
    config = parse_rim_config(
        {"active_judges": {"process": True}, "large": {"api_key_env": "ATLAS_TEST_KEY"}}
    )
    with pytest.raises(AtlasError, match="environment variable ATLAS_TEST_KEY isn't set"):
        RIMReward(config=config)


def test_the_guides_file_is_enough() -> None:
    with RIMReward(config_path="configs/rim_offline_config.yaml") as reward:
        assert reward.report().metrics["judges/calls"] == 0
