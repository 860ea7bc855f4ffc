"""Students that are no model here, as a user has them: the commands as processes of their own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pyarrow.parquet import read_table
from tests.integration.test_training_commands import GRPO, refusal, sessions
from tests.unit.endpoint.chat_server import Answer, ChatServer, error, says
from typer.testing import CliRunner

from atlas.cli.app import app
from atlas.traces.jsonl import write_jsonl

KEY = "sk-Pl4nted-0123456789abcdef0123456789abcdef"
SUM = re.compile(r"\d+(?: [+-] \d+)+")
SIZES = ("max_new_tokens=8", "student_max_new_tokens=16")
AGENT = '''
import asyncio
import re


async def answer(task, teaching):
    """Adds up when it is taught; alone it has no idea, and where it can't read, it fails."""
    await asyncio.sleep(0)
    if teaching is None:
        return "Answer: 0"
    return f"Answer: {eval(re.search(r'[0-9]+(?: [+-] [0-9]+)+', task.question)[0])}"


async def broken(task, teaching):
    raise RuntimeError("no tool answers")
'''


TOOL = '''
def add_up(sum: str) -> int:
    """Work out a sum."""
    return eval(sum)
'''


def acting(request: Mapping[str, Any], number: int) -> Answer:
    """Work a sum out with the tool, where a teacher speaks; ask the database what it is asked."""
    first, last = request["messages"][0]["content"], request["messages"][-1]
    told = [one["content"] for one in request["messages"] if one["role"] == "tool"]
    found = SUM.search(str(request["messages"]))
    if "go about it" in str(first) + str(last["content"]):
        return says("I use a tool.")
    if told:
        rows = told[-1].splitlines()
        return says(f"Answer: {rows[1] if len(rows) > 2 else rows[0]}")
    if "tools" not in request or not ("advice" in str(request["messages"]) or "shop" in str(first)):
        return says("Answer: 0")
    name = request["tools"][0]["function"]["name"]
    query = "SELECT count(*) FROM customers" if name == "sql" else found and found[0]
    arguments = json.dumps({"query" if name == "sql" else "sum": query})
    call = {"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}}
    return says("", message={"tool_calls": [call]}, finish_reason="tool_calls")


def student(request: Mapping[str, Any], number: int) -> Answer:
    """Add up with a teaching, half of the time; every ninth call fails."""
    text = request["messages"][-1]["content"]
    found = SUM.search(text)
    if number % 9 == 8:
        return error(503, "busy")
    if found is None or "go about it" in text:
        return says("I begin on the left.")
    taught = "teacher" in text.lower()
    return says(f"Answer: {eval(found[0]) if taught and number % 2 else 0}")


@pytest.fixture
def server() -> Iterator[ChatServer]:
    """The student's endpoint."""
    with ChatServer(student) as server:
        yield server


def atlas(folder: Path, *words: str, **environment: str) -> str:
    """Run a command in a folder, to its end; return all that it said."""
    done = subprocess.run(
        [sys.executable, "-m", "atlas", *words],
        cwd=folder,
        env={**os.environ, "STUDENT_KEY": KEY, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def endpoint(server: ChatServer) -> tuple[str, ...]:
    """Return the settings of the student."""
    return ("student=endpoint", f"student_base_url={server.url}", "student_api_key_env=STUDENT_KEY")


def test_a_teacher_is_trained_with_an_endpoint_as_its_student(
    tmp_path: Path, server: ChatServer
) -> None:
    write_jsonl(tmp_path / "traces.jsonl", sessions())
    data = ("data=runtime_traces", "export_path=traces.jsonl", "output_dir=run")
    others = [word for word in GRPO if not word.startswith("student_model")]
    words = ("grpo", "teacher_rcl", *data, *others, *endpoint(server), "student_model=judge-model")
    said = atlas(tmp_path, *words)
    log = (tmp_path / "run" / "training.log").read_text()
    assert log.count("the dense part of the reward (reward_dense_weight) is off") == 1
    lines = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert [line["step"] for line in lines] == [1, 2]
    assert all(line["student/calls"] > 0 and line["student/abstention_rate"] == 0 for line in lines)
    assert sum(line["student/retries"] for line in lines) > 0
    assert set(server.keys) == {f"Bearer {KEY}"}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert KEY not in said
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_a_teacher_is_measured_on_an_endpoint_that_is_asked_twice(
    tmp_path: Path, server: ChatServer
) -> None:
    words = ("evaluate", "base", "families=[chain_sum]", "num_tasks=6", *SIZES, *endpoint(server))
    said = atlas(tmp_path, *words, "student_samples=2", "student_temperature=1")
    assert "Teaching efficiency" in said
    run = tmp_path / "runs" / "evaluate"
    pairs = [json.loads(line) for line in (run / "eval" / "pairs.jsonl").read_text().splitlines()]
    assert len(pairs) == 6
    assert {len(pair[who]["again"]) for pair in pairs for who in ("alone", "taught")} == {1}
    claims = json.loads((run / "eval" / "claims.json").read_text())["arms"]["base"]
    measured = {claim["name"]: claim for claim in claims}
    assert measured["accuracy_alone"]["value"] == 0
    right = [pair["taught"]["correct"] + pair["taught"]["again"][0]["correct"] for pair in pairs]
    assert measured["accuracy_taught"]["value"] == pytest.approx(100 * sum(right) / 12)
    assert measured["uplift"]["interval"][1] >= measured["uplift"]["value"]


def test_sessions_of_an_agent_are_recorded_and_its_failures_kept(tmp_path: Path) -> None:
    (tmp_path / "my_agent.py").write_text(AGENT)
    words = ("collect", "families=[chain_sum]", "num_tasks=4", *SIZES, "output=s.jsonl")
    agent = ("student=agent", "student_function=my_agent:answer", "allow_targets=[my_agent:answer]")
    said = atlas(tmp_path, *words, *agent)
    assert re.search(r"sessions: +4: ", said)
    recorded = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    found = {session["task"]: session["final_answer"] for session in recorded}
    assert found == {task: f"Answer: {eval(SUM.search(task)[0])}" for task in found}

    broken = [word.replace("my_agent:answer", "my_agent:broken") for word in agent]
    said = atlas(tmp_path, *words, *broken, "output_dir=other")
    assert "4 of 4 sessions are missing: the student gave no answer" in said
    errors = (tmp_path / "other" / "student_errors.jsonl").read_text().splitlines()
    assert len(errors) == 8
    assert "no tool answers" in json.loads(errors[0])["traceback"]


def test_a_teacher_is_trained_and_measured_with_a_student_that_acts(tmp_path: Path) -> None:
    """It speaks before each of the student's turns."""
    write_jsonl(tmp_path / "traces.jsonl", sessions())
    (tmp_path / "my_tools.py").write_text(TOOL)
    left = ("student_model", "evaluate_tasks")
    words = [word for word in GRPO if not word.startswith(left)]
    words += ["data=runtime_traces", "export_path=traces.jsonl", "output_dir=run"]
    words += ["evaluate_tasks=3", "tools=[my_tools:add_up]", "allow_targets=[my_tools:add_up]"]
    with ChatServer(acting) as server:
        words += ["teaching_at=every_step", *endpoint(server), "student_cache_path=null"]
        said = atlas(tmp_path, "grpo", "teacher_rcl", *words)
    assert "a student with tools has no log-probabilities" in said
    lines = [json.loads(one) for one in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["train/student_turns"] for line in lines] == [2, 2]
    assert [line["train/tool_calls"] for line in lines] == [1, 1]
    assert all(line["train/accuracy_alone"] == 0 for line in lines)
    rows = read_table(tmp_path / "run/rollouts/step_000002.parquet").to_pylist()
    for row in rows:
        looked, answered = json.loads(row["attempt_turns"])
        worked = str(eval(SUM.search(row["question"])[0]))
        assert looked["calls"][0]["result"] == worked
        assert answered["text"] == row["attempt"] == f"Answer: {worked}"
        assert [len(turn["calls"]) for turn in json.loads(row["baseline_turns"])] == [0]
    assert "Measured on 3 held-out tasks" in said
    assert "add_up" in (tmp_path / "run/report.html").read_text()


def test_sessions_with_the_tool_sql_are_recorded_with_every_turn(
    tmp_path: Path, server_folder: Path
) -> None:
    words = ("collect", "families=[sql_lookup]", "num_tasks=6", *SIZES, "output=s.jsonl")
    with ChatServer(acting) as server:
        kept = ("tools=[sql]", "tool_timeout_s=60", "student_cache_path=null")
        atlas(tmp_path, *words, *endpoint(server), *kept, XDG_CACHE_HOME=str(server_folder))
    recorded = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert len(recorded) == 6
    for session in recorded:
        events = [one["event"] for one in session["trajectory_events"]]
        looked, answered = next(one["turns"] for one in events if one["phase"] == "attempt")
        assert looked["calls"][0]["result"] == "count\n12\n(1 rows)"
        assert answered["text"] == session["final_answer"] == "Answer: 12"


def test_one_lesson_with_a_tool_shows_every_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDENT_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_tools.py").write_text(TOOL)
    tools = ("tools=[my_tools:add_up]", "allow_targets=[my_tools:add_up]")
    with ChatServer(acting) as server:
        words = ("--teacher", "base", *endpoint(server), *tools, "student_cache_path=null")
        done = CliRunner().invoke(app, ["teach", "Calculate 2 + 5.", *words])
    assert done.exit_code == 0, done.output
    taught = done.output.partition("student taught")[2].split("\n")
    assert taught[1:4] == ['  Call: add_up {"sum": "2 + 5"}', "  > 7", "  Answer: 7"]


def test_one_lesson_with_an_endpoint(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDENT_KEY", KEY)
    words = ("--teacher", "base", "--max-new-tokens", "8", *endpoint(server))
    kept = "student_cache_path=null"
    done = CliRunner().invoke(app, ["teach", "Calculate 2 + 5.", *words, kept])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[lines.index("student alone") + 1] == "  Answer: 0"
    assert lines[lines.index("student's approach") + 1] == "  I begin on the left."


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("student=endpoint",), "student_base_url is missing"),
        (("student=agent",), "student_function is missing"),
        (("student=endpoint", "student_base_url=nowhere"), "student_base_url is 'nowhere', which"),
        (("student_temperature=1",), "student_temperature is read with student=endpoint only"),
        (("student_samples=3",), "read with student=endpoint or student=agent only"),
        (("student=agent", "student_function=a:b"), "'allow_targets=\\[a:b\\]'"),
        (
            ("student=endpoint", "student_base_url=http://h/v1", "student_api_key_env=NO_SUCH_KEY"),
            "the environment variable NO_SUCH_KEY isn't set",
        ),
        (
            ("student=endpoint", "student_base_url=http://h/v1", "student_max_cost=1"),
            "student_max_cost needs prices",
        ),
        (("tools=[a:b]",), "'allow_targets=\\[a:b\\]'"),
        (("tools=[sq]",), "there is no tool 'sq'; did you mean 'sql'"),
        (('mcp_servers=["x y"]',), "mcp_servers 'x y' is code of your own"),
        (("max_turns=3",), "max_turns is read with tools or mcp_servers only"),
        (("teaching_at=every_step",), "teaching_at is read with tools or mcp_servers only"),
        (
            ("tools=[sql]", "teaching_at=every_step", "teaching=review"),
            "teaching_at=every_step and teaching=review contradict",
        ),
        (
            ("student=agent", "student_function=a:b", "allow_targets=[a:b]", "tools=[sql]"),
            "an agent brings its own",
        ),
    ],
)
def test_what_contradicts_is_one_line_and_nothing_is_written(
    words: tuple[str, ...], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert re.search(says, refusal("evaluate", "base", *words))
    assert list(tmp_path.iterdir()) == []
