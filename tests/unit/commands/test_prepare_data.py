"""``prepare_grpo_data.py``: every source, as the command line asks for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from atlas.datasets.ranked import RankedRecord, read_ranked
from atlas.datasets.split import task_key
from atlas.errors import AtlasError
from atlas.from_scratch_cli import prepare_app
from atlas.session import Session, SessionReward
from atlas.traces.jsonl import write_jsonl
from atlas.traces.postgres_write import write_sessions

Sets = tuple[list[RankedRecord], list[RankedRecord]]


def prepare(folder: Path, *words: str) -> Sets:
    result = CliRunner().invoke(prepare_app, [*words, "--output-dir", str(folder / "data")])
    if result.exception is not None:
        raise result.exception
    names = ("grpo_training.json", "validation.json")
    train, validation = (read_ranked(folder / "data" / name) for name in names)
    assert not {record.prompt for record in train} & {record.prompt for record in validation}
    return train, validation


def sessions() -> list[Session]:
    """Twenty tasks with three answers each, and one that can't be ranked."""
    rewards = {"good": 0.9, "fair": 0.5, "bad": 0.1}
    return [
        Session(
            task=f"Calculate {number} + 1.",
            final_answer=f"{answer} {number}",
            reward=SessionReward(score=score),
        )
        for number in range(20)
        for answer, score in rewards.items()
    ] + [Session(task="alone", final_answer="x", reward=SessionReward(score=1.0))]


def check_sessions(sets: Sets) -> None:
    train, validation = sets
    assert (len(train), len(validation)) == (18, 2)
    for record in (*train, *validation):
        number = record.prompt.split()[1]
        assert [text for _, text in sorted(zip(record.ranks, record.responses, strict=True))] == [
            f"good {number}",
            f"fair {number}",
            f"bad {number}",
        ]


def test_sessions_of_a_file(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "traces.jsonl", sessions())
    check_sessions(
        prepare(tmp_path, "--source", "traces", "--path", str(tmp_path / "traces.jsonl"))
    )


def test_sessions_of_a_database(tmp_path: Path, fresh_db_url: str) -> None:
    write_sessions(fresh_db_url, sessions())
    check_sessions(prepare(tmp_path, "--source", "traces", "--path", fresh_db_url))


def records(count: int) -> list[dict[str, Any]]:
    return [
        {
            "prompt": f"Add 1 to {number}.",
            "responses": [{"text": f"{number} {k}", "score": -k} for k in range(4)],
        }
        for number in range(count)
    ]


def test_records_of_one_s_own(tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text(json.dumps(records(30)))
    words = ("--source", "jsonl", "--path", str(tmp_path / "own.json"))
    train, validation = prepare(tmp_path, *words, "--responses-per-prompt", "3")
    assert (len(train), len(validation)) == (27, 3)
    assert {record.ranks for record in train} == {(1, 2, 3)}
    assert {record.responses[-1].split()[1] for record in train} == {"3"}
    again, _ = prepare(tmp_path, *words, "--size", "5", "--validation-size", "2")
    assert len(again) == 5


def test_a_prompt_in_other_words_stays_on_its_side(tmp_path: Path) -> None:
    twice = [
        record | {"prompt": record["prompt"].replace("Add", "Please compute: add")}
        for record in records(30)
    ]
    (tmp_path / "own.json").write_text(json.dumps([*records(30), *twice]))
    train, validation = prepare(tmp_path, "--source", "jsonl", "--path", str(tmp_path / "own.json"))
    assert len(validation) == 6
    sides = [{task_key(record.prompt) for record in side} for side in (train, validation)]
    assert not sides[0] & sides[1]


def test_a_preference_set(tmp_path: Path) -> None:
    rows = [
        {"instruction": f"Question {n}", "completions": [
            {"response": f"a{n}", "overall_score": 10.0, "fine-grained_score": 1.0},
            {"response": f"b{n}", "overall_score": 7.0, "fine-grained_score": 4.0},
        ]}
        for n in range(20)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "set.parquet")
    train, _ = prepare(tmp_path, "--source", "hub", "--path", str(tmp_path / "set.parquet"))
    assert len(train) == 18
    assert {record.responses[record.ranks.index(1)][0] for record in train} == {"b"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--source", "trace"], "--source is trace; it must be one of tasks, traces, jsonl, hub"),
        (["--responses-per-prompt", "17"], "it must be from 2 to 16"),
        (["--path", "a.jsonl"], "--path is for --source traces or jsonl or hub, and the source is"),
        (["--source", "hub", "--tasks", "chain_sum"], "--tasks is for --source tasks"),
        (["--split", "train_prefs"], "--split is for --source hub"),
        (["--source", "jsonl"], "--path is missing; give a JSON or JSONL file"),
        (["--tasks", "chain_sun"], "chain_sun"),
    ],
)
def test_what_can_t_be_done_is_one_line(tmp_path: Path, words: Sequence[str], message: str) -> None:
    with pytest.raises(AtlasError) as caught:
        prepare(tmp_path, *words)
    assert message in str(caught.value)
    assert not (tmp_path / "data").exists()


def test_a_broken_record_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text(json.dumps([*records(3), {"prompt": "?"}]))
    with pytest.raises(AtlasError, match="record 3: 'responses' is a required property"):
        prepare(tmp_path, "--source", "jsonl", "--path", str(tmp_path / "own.json"))
    assert not (tmp_path / "data").exists()
