import base64
import gzip
import json
from dataclasses import asdict, replace

import pyarrow
import pyarrow.parquet
from tests.unit.report.fake_run import fake_pairs

from atlas.report.rollouts import packed, pair_chunks, training_chunks
from atlas.types import StudentTurn, ToolCall


def _kept(folder, step, rows):
    folder.mkdir(exist_ok=True)
    table = pyarrow.Table.from_pylist([{"step": step, **row} for row in rows])
    pyarrow.parquet.write_table(table, folder / f"step_{step:06d}.parquet")


def _cells(chunk, name):
    column = chunk["columns"][name]
    if isinstance(column, list):
        return column
    return [None if place is None else chunk["texts"][place] for place in column["text"]]


def test_a_training_has_one_name_for_each_thing_and_keeps_what_it_does_not_know(tmp_path):
    rows = [
        {"question": "q", "baseline": "5", "part_uplift": 1.0, "reward": 1.123456789, "lane": "a"},
        {"question": "q", "baseline": "5", "part_uplift": -1.0, "reward": -1.0, "lane": "b"},
        {"question": "q", "baseline": "5", "part_uplift": 0.0, "reward": 0.0, "part_leaked": 1.0},
        {"question": "q", "baseline": "5", "reward": None, "turns": [{"said": "x"}]},
    ]
    names = {name for row in rows for name in row}
    _kept(tmp_path, 1, [{name: row.get(name) for name in names} for row in rows])
    problems = []
    (chunk,) = training_chunks(tmp_path, problems)
    assert _cells(chunk, "kind") == ["helped", "harmed", "leaked", "abstained"]
    assert _cells(chunk, "alone") == ["5"] * 4
    assert chunk["texts"].count("q") == 1
    assert _cells(chunk, "reward") == [1.1235, -1.0, 0.0, None]
    assert _cells(chunk, "lane")[:2] == ["a", "b"]
    assert json.loads(_cells(chunk, "turns")[3]) == [{"said": "x"}]
    assert problems == []


def test_a_student_with_tools_is_read_turn_by_turn(tmp_path):
    acted = StudentTurn(
        text="I look.",
        calls=(ToolCall(name="sql", arguments='{"query": "SELECT 1"}', result="1"),),
        guidance="Count first.",
    )
    failed = StudentTurn(
        text="", calls=(ToolCall(name="sql", arguments="{}", result="no query", failed=True),)
    )
    told = (
        'Teacher: Count first.\nI look.\nsql {"query": "SELECT 1"}\n  → 1\n'
        "sql {}\n  → failed: no query\nAnswer: 1"
    )
    turns = (acted, failed, StudentTurn(text="Answer: 1"))
    kept = json.dumps([asdict(turn) for turn in turns])
    _kept(tmp_path, 1, [{"reward": 1.0, "baseline_turns": "[]", "attempt_turns": kept}])
    (chunk,) = training_chunks(tmp_path, [])
    assert _cells(chunk, "attempt_turns") == [told]
    assert "alone_turns" not in chunk["columns"]
    (pair, *_) = fake_pairs(1)
    (text,) = packed(pair_chunks([replace(pair, attempt=replace(pair.attempt, turns=turns))]))
    assert _cells(json.loads(gzip.decompress(base64.b64decode(text))), "attempt_turns") == [told]


def test_later_steps_alone_and_a_broken_table_is_named(tmp_path):
    for step in (1, 2, 3):
        _kept(tmp_path, step, [{"reward": 0.5}])
    (tmp_path / "step_000002.parquet").write_bytes(b"no table")
    problems = []
    (chunk,) = training_chunks(tmp_path, problems, after=1)
    assert _cells(chunk, "step") == [3]
    assert len(problems) == 1
    assert list(training_chunks(tmp_path, problems, after=3)) == []


def test_pairs_are_rollouts_too_and_a_browser_can_unpack_them():
    (text,) = packed(pair_chunks(fake_pairs(30), run=1))
    chunk = json.loads(gzip.decompress(base64.b64decode(text)))
    assert (chunk["count"], chunk["where"], chunk["run"]) == (60, "held out", 1)
    assert set(_cells(chunk, "arm")) == {"sft", "grpo"}
    kinds = set(_cells(chunk, "kind"))
    assert {"helped", "still wrong"} <= kinds
    assert kinds <= {"helped", "harmed", "leaked", "right anyway", "still wrong"}
