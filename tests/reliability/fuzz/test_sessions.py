"""Sessions, tasks, ranked records and rows of tables."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.integration.test_training_commands import sessions
from tests.reliability.fuzz.broken import (
    as_json,
    damaged,
    documents,
    fuzz,
    mutated,
    refused,
    texts,
)
from tests.unit.traces.conftest import STORABLE_TEXT

from atlas.data.ranked import RankedRecord, one_a_prompt, read_ranked, write_ranked
from atlas.data.samples import Use
from atlas.data.sources.columns import dialogue_in, find_columns, task_in
from atlas.data.sources.hub import get_hub_dataset
from atlas.data.sources.ranked import get_ranked_dataset
from atlas.data.sources.runtime_traces import get_runtime_trace_dataset
from atlas.data.task_file import read_tasks
from atlas.environments.teaching.review_text import read_review
from atlas.rewards.verifiers.registry import accepts_reference, verifier_name
from atlas.session import Session
from atlas.traces.codec import session_to_record
from atlas.traces.jsonl import FORMAT, JsonlTraceStore, write_jsonl
from atlas.traces.postgres.connection import _JsonbLoader
from atlas.traces.store import SessionQuery
from atlas.types import Task

OURS: dict[str, Any] = {"format": FORMAT, **session_to_record(sessions()[1])}
OURS = json.loads(json.dumps(OURS, default=str))
EXPORTED: dict[str, Any] = {
    "task": "Calculate 2 + 3.",
    "final_answer": "Answer: 5",
    "status": "succeeded",
    "created_at": "2026-01-02T03:04:05",
    "plan": {"steps": [{"id": 1, "description": "Add.", "depends_on": []}]},
    "steps": [
        {
            "step_id": 1,
            "description": "Add.",
            "trace": "",
            "output": "5",
            "attempts": 1,
            "guidance": ["Add both."],
            "metadata": {"runtime": {}},
            "reward": {"score": 1.0, "judges": []},
            "validation": {"valid": True},
        }
    ],
    "session_metadata": {
        "learning_key": "k",
        "ground_truth": "5",
        "adaptive_summary": {"adaptive_mode": "paired", "confidence": 0.5, "probe": {}},
        "task": {"answer": "5", "family": "basic_arithmetic", "metadata": {}},
        "reviews": [
            {"said": "Add."},
            {"attempt": "5", "certified": True, "true": True, "said": "Verdict: certified"},
        ],
    },
    "session_reward": {"score": 0.9, "judges": [{"identifier": "j", "score": 1}]},
    "trajectory_events": [{"event": {"event_type": "LLM_END"}, "created_at": None}],
}
RECORD: dict[str, Any] = {
    "prompt": "Calculate 2 + 3.",
    "responses": [
        {"text": "5", "rank": 1, "kind": "right"},
        {"text": "6", "rank": 2, "kind": "wrong"},
    ],
    "task": {"family": "basic_arithmetic", "answer": "5", "metadata": {}},
    "source": "17",
}
TASK: dict[str, Any] = {
    "question": "Calculate 2 + 3.",
    "answer": "5",
    "family": "numeric",
    "metadata": {"tolerance": 0.1, "verifier": "numeric", "answer_format": "auto"},
}
ROW: dict[str, Any] = {
    "id": 3,
    "messages": [
        {"role": "user", "content": "2 + 3?"},
        {"role": "assistant", "content": [{"type": "text", "text": "5"}]},
    ],
    "prompt": "2 + 3?",
    "completion": [{"role": "assistant", "content": "5"}],
    "problem_text": "2 + 3?",
    "student_approach": "I add.",
    "teacher_teaching": "Add both.",
    "question": "2 + 3?",
    "answer": ["5"],
}


def lines(*contents: bytes) -> bytes:
    return b"".join(content + b"\n" for content in contents)


@fuzz(250)
@given(documents(OURS) | documents(EXPORTED), st.booleans(), st.booleans())
def test_a_file_of_sessions(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, skip: bool, packed: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / ("t.jsonl.gz" if packed else "t.jsonl")
    content = lines(content, as_json(EXPORTED))
    path.write_bytes(gzip.compress(content, 1) if packed else content)
    dataset = refused(
        get_runtime_trace_dataset,
        path,
        on_broken="skip" if skip else "error",
        min_reward=-1.0,
        status_filters=("succeeded", "failed"),
    )
    assert dataset or not skip, "one line is whole"
    for session in read(path):
        refused(write_jsonl, path.with_name("again.jsonl"), [session])


def read(path: Path) -> list[Session]:
    return list(JsonlTraceStore(path, on_broken="skip").sessions(SessionQuery()))


@fuzz()
@given(documents(OURS) | documents(EXPORTED))
def test_a_session_that_was_read_is_written_and_read_alike(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "r.jsonl"
    path.write_bytes(lines(content))
    found = read(path)
    if found and refused(write_jsonl, path, found) is not None:
        assert read(path) == found


@fuzz()
@given(st.data())
def test_a_compressed_file_that_is_damaged(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "d.jsonl.gz"
    whole = gzip.compress(lines(as_json(OURS), as_json(EXPORTED)), mtime=0)
    path.write_bytes(data.draw(damaged(whole)))
    refused(read, path)
    refused(read_tasks, path, check=lambda task: None)


@fuzz()
@given(documents(EXPORTED))
def test_a_document_of_the_database(content: bytes) -> None:
    # jsonb holds JSON only; who speaks PostgreSQL's protocol may send what he likes.
    _JsonbLoader(3802).load(content)


@fuzz()
@given(documents(TASK))
def test_a_file_of_tasks(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "tasks.jsonl"
    path.write_bytes(lines(content))
    for task in refused(read_tasks, path, check=lambda task: None) or []:
        verifier_name(task)
        if str(task.metadata.get("verifier")) in ("numeric", "exact", "regex", "reference"):
            reason = accepts_reference(task)
            assert reason is None or isinstance(reason, str)


@fuzz()
@given(documents([RECORD]), st.booleans())
def test_a_file_of_ranked_records(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, by_line: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / ("ranked.jsonl" if by_line else "ranked.json")
    path.write_bytes(content)
    refused(get_ranked_dataset, path)
    records = refused(read_ranked, path)
    if records:
        one_a_prompt([*records, *records])
        again = path.with_name("again.json")
        if refused(write_ranked, again, records) is None and again.exists():
            assert read_ranked(again) == records


plain_texts = STORABLE_TEXT.filter(str.strip)


@fuzz()
@given(
    st.lists(
        st.builds(
            RankedRecord,
            prompt=plain_texts,
            responses=st.just(("a", "b", "c")),
            scores=st.tuples(*[st.floats(-1e6, 1e6)] * 3),
            task=st.none(),
            source=STORABLE_TEXT,
        ),
        min_size=1,
        max_size=3,
    )
)
def test_ranked_records_come_back(
    tmp_path_factory: pytest.TempPathFactory, records: list[RankedRecord]
) -> None:
    path = tmp_path_factory.getbasetemp() / "w.json"
    write_ranked(path, records)
    assert read_ranked(path) == records


@fuzz()
@given(mutated(ROW), st.sampled_from(["sft", "rl", "both"]))
def test_a_row(row: Any, use: Use) -> None:
    if not isinstance(row, dict):
        return
    columns = refused(find_columns, "rows", row.keys(), use)
    if columns is not None and columns.teachings:
        dialogue_in(row, columns)
    if columns is not None and columns.question:
        task_in(row, columns)


@fuzz(30)
@given(documents(ROW), st.sampled_from([".jsonl", ".json", ".csv", ".parquet"]))
def test_a_table_of_rows(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, kind: str
) -> None:
    path = tmp_path_factory.mktemp("table") / f"rows{kind}"
    path.write_bytes(lines(content, as_json(ROW)))
    refused(get_hub_dataset, path)


@fuzz()
@given(st.builds(Task, question=texts, answer=texts, family=texts))
def test_a_task_has_an_id_and_a_verifier(task: Task) -> None:
    assert task.id.isalnum()
    verifier_name(task)


@fuzz()
@given(texts | st.datetimes().map(str))
def test_a_time(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "time.jsonl"
    path.write_bytes(lines(as_json({**EXPORTED, "created_at": text})))
    for session in read(path):
        assert session.created_at is None or isinstance(session.created_at, datetime)
        query = SessionQuery(created_after=datetime(2026, 1, 1, tzinfo=UTC))
        query.matches(session)


@fuzz(300)
@given(
    texts
    | st.lists(
        st.sampled_from(
            ["Verdict:", "certified", "revise", "{", "}", '"verdict":', "\n", "**", " "]
        )
    ).map("".join)
)
def test_a_review_of_a_model_is_read_whatever_it_wrote(text: str) -> None:
    found = read_review(text)
    assert not (found.certified and not found.readable)
    assert found.readable or found.guidance == text.strip()
