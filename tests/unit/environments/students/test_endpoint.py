"""A chat API as a student: what is sent and kept, what it may cost, what goes wrong."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.unit.endpoint.chat_server import FAULTS, Answer, ChatServer, fault_of, says
from tests.unit.environments.students import kinds_acting
from tests.unit.environments.students.kinds import endpoint, endpoint_settings, reply

from atlas.endpoint.budget import Usage
from atlas.environments.students.endpoint import EndpointStudent
from atlas.errors import AtlasError
from atlas.prompts.folder import shipped_prompts
from atlas.rewards.verifiers import verified
from atlas.types import Task

TASKS = [Task(question=f"{n} + 1 =", answer=str(n + 1), family="reference") for n in range(9)]
PLAIN = shipped_prompts("plain")


def test_it_is_asked_as_a_model_here_would_be() -> None:
    prompts = PLAIN.with_settings("student", chat_template_kwargs={"enable_thinking": False})
    with ChatServer(reply) as server:
        keys: dict[str, Any] = {"student_model": "m", "student_temperature": 0.3}
        config = endpoint_settings(server.url, **keys)
        with contextlib.closing(
            EndpointStudent(config, prompts, max_new_tokens=50, approach_tokens=9)
        ) as student:
            student.attempt(TASKS[:1], [None])
            student.attempt(TASKS[:1], ["Add."])
            student.approach(TASKS[:1])
    alone, taught, approach = server.requests
    assert alone["messages"] == PLAIN.render("baseline", task="0 + 1 =")
    assert taught["messages"] == PLAIN.render("attempt", task="0 + 1 =", teaching="Add.")
    assert approach["messages"] == PLAIN.render("approach", task="0 + 1 =")
    assert [r["max_tokens"] for r in server.requests] == [50, 50, 9]
    assert (alone["model"], alone["temperature"]) == ("m", 0.3)
    assert alone["chat_template_kwargs"] == {"enable_thinking": False}
    assert "response_format" not in alone


def test_the_same_question_is_asked_once_and_each_sample_by_itself(tmp_path: Path) -> None:
    kept = {"student_cache_path": str(tmp_path / "c.sqlite"), "student_samples": 3}
    with ChatServer(reply) as server:
        config = endpoint_settings(server.url, **kept)
        for _ in range(2):
            student = EndpointStudent(config, PLAIN, max_new_tokens=50)
            with contextlib.closing(student):
                attempts = student.attempt([TASKS[0]] * 4, [None] * 4)
                assert [len(one.again) for one in attempts] == [2] * 4
        metrics = student.metrics()
    assert len(server.requests) == 3
    assert (metrics["student/calls"], metrics["student/cached"]) == (0, 12)


def test_the_mean_of_samples_counts(tmp_path: Path) -> None:
    """Right the first time only: a third of the attempts."""

    def answer(request: Mapping[str, Any], number: int) -> Answer:
        return says("Answer: 1" if number == 0 else "Answer: 7")

    with endpoint(tmp_path, answer, student_samples=3) as student:
        (alone,) = verified(TASKS[:1], student.attempt(TASKS[:1], [None]))
    assert alone.right == pytest.approx(1 / 3)
    assert alone.tokens == 60


def test_the_budget_stops_the_run_and_names_its_key(tmp_path: Path) -> None:
    with ChatServer(reply) as server:
        limits = {"student_max_calls": 5}
        config = endpoint_settings(server.url, **limits)
        spent = Usage(calls=2)
        student = EndpointStudent(config, PLAIN, max_new_tokens=50, spent=spent)
        stops = pytest.raises(AtlasError, match=r"student's budget .* raise student_max_calls")
        with contextlib.closing(student), stops:
            student.attempt(TASKS, [None] * len(TASKS))
        assert (student.spent.calls, len(server.requests)) == (5, 3)


@pytest.mark.parametrize(
    ("answer", "text", "thoughts", "withheld"),
    [
        (says("<think>Five?</think> Answer: 6"), "Answer: 6", "Five?", ""),
        (says("Answer: 6", message={"reasoning_content": "Five?"}), "Answer: 6", "Five?", ""),
        (says("<think>Five", finish_reason="length"), "", "Five", "unfinished_thoughts"),
        (
            says("", message={"reasoning_content": "Five"}, finish_reason="length"),
            *("", "Five", "unfinished_thoughts"),
        ),
    ],
)
def test_thoughts_are_apart(
    answer: Answer, text: str, thoughts: str, withheld: str, tmp_path: Path
) -> None:
    with endpoint(tmp_path, lambda *_: answer) as student:
        (attempt,) = student.attempt(TASKS[:1], [None])
    assert (attempt.text, attempt.thoughts, attempt.withheld) == (text, thoughts, withheld)


@pytest.mark.parametrize("fault", FAULTS, ids=[fault["name"] for fault in FAULTS])
def test_an_endpoint_that_fails_stalls_or_lies_gives_an_answer_or_none(
    fault: dict[str, Any], tmp_path: Path
) -> None:
    """An abstention is never a wrong answer, and what no call would survive ends the run."""
    with ChatServer(lambda *_: fault_of(fault)) as server:
        config = endpoint_settings(server.url, student_timeout_s=fault.get("timeout_s", 60))
        student = EndpointStudent(config, PLAIN, max_new_tokens=50)
        ends = fault["outcome"] == "stops"
        stops = pytest.raises(AtlasError) if ends else contextlib.nullcontext()
        with contextlib.closing(student), stops:
            (attempt,) = verified(TASKS[5:6], student.attempt(TASKS[5:6], [None]))
            if fault["outcome"] == "answered":
                assert attempt.correct
            else:
                assert attempt.unverified == attempt.abstained != ""
                assert fault["outcome"].replace("_", " ") in attempt.abstained
                assert student.metrics()[f"student/abstained/{fault['outcome']}"] == 1


def test_how_long_its_answers_get_is_probed_with_twice_the_room(tmp_path: Path) -> None:
    def answer(request: Mapping[str, Any], number: int) -> Answer:
        return says("…", finish_reason="length" if number == 0 else "stop")

    with ChatServer(answer) as server:
        config = endpoint_settings(server.url, student_concurrency=1)
        student = EndpointStudent(config, PLAIN, max_new_tokens=50)
        with contextlib.closing(student):
            (probe,) = student.probe(TASKS[:4], ["Add."] * 4, seed=0)
    assert {request["max_tokens"] for request in server.requests} == {100}
    assert (probe.lengths, probe.cut_share) == ((None, 60, 60, 60), 1.0)


def test_tokens_that_nobody_counts_are_none_and_said_once(tmp_path: Path) -> None:
    said: list[str] = []
    body = {key: value for key, value in says("4").body.items() if key != "usage"}
    with ChatServer(lambda *_: Answer(body=body)) as server:
        config = endpoint_settings(server.url)
        student = EndpointStudent(config, PLAIN, max_new_tokens=50, say=said.append)
        with contextlib.closing(student):
            attempts = student.attempt(TASKS, [None] * len(TASKS))
    assert {one.num_tokens for one in attempts} == {0}
    assert said == ["the student's endpoint doesn't count tokens, so that none can be saved"]


def test_tools_go_along_in_the_request_and_their_results_in_their_own_role() -> None:
    with ChatServer(kinds_acting.reply) as server:
        config = endpoint_settings(server.url)
        student = EndpointStudent(config, PLAIN, max_new_tokens=50, acting=kinds_acting.acting())
        with contextlib.closing(student):
            student.attempt(TASKS[:1], ["Look into box 2."])
    first, second = server.requests
    (tool,) = first["tools"]
    assert tool["function"]["parameters"]["properties"] == {"box": {"type": "integer"}}
    assert first["messages"] == PLAIN.render("attempt", task="0 + 1 =", teaching="Look into box 2.")
    asked, called, told = second["messages"]
    assert [asked] == first["messages"]
    assert called["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"box": 2}'}
    assert told == {
        "role": "tool",
        "tool_call_id": called["tool_calls"][0]["id"],
        "name": "look",
        "content": "there are 14 coins",
    }


def test_an_endpoint_that_takes_no_tools_is_told_in_words_and_it_is_said_once() -> None:
    said: list[str] = []
    with ChatServer(kinds_acting.refusing_reply) as server:
        config = endpoint_settings(server.url, student_concurrency=1)
        student = EndpointStudent(
            config, PLAIN, max_new_tokens=50, acting=kinds_acting.acting(), say=said.append
        )
        with contextlib.closing(student):
            attempts = student.attempt(TASKS[:2], ["Look into box 2."] * 2)
    assert [one.text for one in attempts] == ["Answer: 14"] * 2
    assert len([line for line in said if "takes no tools" in line]) == 1
    assert "tools" not in server.requests[-1]
    assert "> there are 14 coins" in server.requests[-1]["messages"][-1]["content"]


@pytest.mark.parametrize("calls", [7, [7], [{"function": 7}], [{"function": {"name": 7}}], {}])
def test_calls_that_are_none_are_none(calls: Any, tmp_path: Path) -> None:
    answer = says("Answer: 1", message={"tool_calls": calls})
    with kinds_acting.api(lambda *_: answer) as student:
        (attempt,) = student.attempt(TASKS[:1], [None])
    assert (attempt.text, len(attempt.turns)) == ("Answer: 1", 1)


@pytest.mark.parametrize("fault", FAULTS, ids=[fault["name"] for fault in FAULTS])
def test_a_fault_in_the_second_turn_is_an_abstention_that_keeps_the_first(
    fault: dict[str, Any],
) -> None:
    def answer(request: Mapping[str, Any], number: int) -> Answer:
        return fault_of(fault) if number else kinds_acting.reply(request, number)

    settings = {"student_timeout_s": fault.get("timeout_s", 60)}
    with kinds_acting.api(answer, settings) as student:
        try:
            (attempt,) = student.attempt(TASKS[:1], ["Look into box 2."])
        except AtlasError:
            assert fault["outcome"] in ("stops", "refused")
            return
    assert attempt.turns[0].calls[0].result == "there are 14 coins"
    assert bool(attempt.abstained) is (fault["outcome"] != "answered")
