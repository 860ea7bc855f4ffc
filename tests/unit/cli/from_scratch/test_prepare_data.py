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

from atlas.cli.from_scratch.prepare_data import app as prepare_app
from atlas.data.ranked import RankedRecord, read_ranked
from atlas.data.split import task_key
from atlas.errors import AtlasError
from atlas.session import Session, SessionReward
from atlas.traces import open_database
from atlas.traces.jsonl import write_jsonl
from atlas.traces.postgres.writing import write_sessions

Sets = tuple[list[RankedRecord], list[RankedRecord]]


def prepare(folder: Path, *words: str) -> Sets:
    return said_by_prepare(folder, *words)[0]


def said_by_prepare(folder: Path, *words: str) -> tuple[Sets, str]:
    """Run the command; return what it wrote and what it printed."""
    result = CliRunner().invoke(prepare_app, [*words, "--output-dir", str(folder / "data")])
    if result.exception is not None:
        raise result.exception
    names = ("grpo_training.json", "validation.json")
    train, validation = (read_ranked(folder / "data" / name) for name in names)
    assert not {record.prompt for record in train} & {record.prompt for record in validation}
    return (train, validation), result.output


def own(folder: Path, content: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    (folder / "own.json").write_text(json.dumps(content))
    return "--source", "jsonl", "--path", str(folder / "own.json")


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
        assert record.are_ranks
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
    other = (tmp_path / "traces.jsonl").rename(tmp_path / "traces.ndjson")
    (sets, said) = said_by_prepare(tmp_path, "--source", "traces", "--path", str(other))
    check_sessions(sets)
    assert "1 tasks have one answer or equal rewards: left out" in said


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
    assert {(record.scores, record.are_ranks) for record in train} == {((-2.0, -1.0), True)}


def test_a_size_stops_reading_a_set_once_there_are_enough_prompts(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"Question {n // 2}", "chosen": f"a{n}", "rejected": f"b{n}"} for n in range(80)
    ]
    rows[3]["rejected"] = rows[3]["chosen"]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "set.parquet")
    path = str(tmp_path / "set.parquet")
    (train, validation), said = said_by_prepare(
        tmp_path, "--source", "hub", "--path", path, "--size", "18"
    )
    assert (len(train), len(validation)) == (18, 2)
    assert "1 rows have one answer or equal scores: left out" in said
    assert "19 records repeat a prompt, and ranks of two records can't be compared" in said
    assert f"--size is 18: from {path}, row 40 on, no row was read" in said


def test_own_records_keep_their_scores_and_ranks(tmp_path: Path) -> None:
    content = [
        {
            "prompt": f"Add 1 to {number}.",
            "responses": [{"text": f"{number} {v}", kind: v} for v in values],
        }
        for number in range(20)
        for kind, values in [("score", (0.91, 0.9, -50)) if number % 2 else ("rank", (1, 1, 3))]
    ]
    train, validation = prepare(tmp_path, *own(tmp_path, content))
    assert {(record.scores, record.are_ranks) for record in (*train, *validation)} == {
        ((0.91, 0.9, -50.0), False),
        ((-1.0, -1.0, -3.0), True),
    }


def test_without_a_size_all_own_records_are_taken(tmp_path: Path) -> None:
    words = own(tmp_path, records(7000))
    (train, validation), said = said_by_prepare(tmp_path, *words)
    assert (len(train), len(validation)) == (6500, 500)
    assert "--size" not in said
    (train, validation), said = said_by_prepare(
        tmp_path, *words, "--size", "100", "--validation-size", "900"
    )
    assert (len(train), len(validation)) == (100, 900)
    assert "6000 prompts are left out: --size is 100" in said


def test_what_own_records_lose_is_said(tmp_path: Path) -> None:
    more = {"prompt": "Add 1 to 0.", "responses": [{"text": "0 4", "score": 5}]}
    single = {"prompt": "Alone", "responses": [{"text": "x", "rank": 1}]}
    words = own(tmp_path, [*records(20), more, more, single])
    (train, validation), said = said_by_prepare(tmp_path, *words, "--responses-per-prompt", "4")
    (joined,) = [r for r in (*train, *validation) if r.prompt == "Add 1 to 0."]
    assert joined.scores == (5.0, 0.0, -2.0, -3.0)
    assert "1 records repeat a prompt: their responses are joined" in said
    assert "1 records repeat what an earlier one says: left out" in said
    assert "1 responses are left out: --responses-per-prompt is 4" in said
    assert "1 prompts have one response or only ties: nothing is ranked there" in said


def test_more_for_validation_than_there_are_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match=r"nothing is left for .*smaller --validation-size"):
        prepare(tmp_path, *own(tmp_path, records(20)), "--validation-size", "20")


def test_sessions_without_a_database_are_pointed_to_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in open_database.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    nobody = "postgresql://atlas:atlas@localhost:1/atlas"
    monkeypatch.setattr(open_database, "DEFAULT_DB_URL", nobody)
    with pytest.raises(AtlasError, match=r"give --path with a URL .* as in --path runs"):
        prepare(tmp_path, "--source", "traces")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--source", "trace"], "--source is trace; it must be one of tasks, traces, jsonl, hub"),
        (["--responses-per-prompt", "17"], "it must be from 2 to 16"),
        (["--path", "a.jsonl"], "--path is for --source traces or jsonl or hub, and the source is"),
        (["--source", "hub", "--tasks", "chain_sum"], "--tasks is for --source tasks"),
        (["--split", "train_prefs"], "--split is for --source hub"),
        (["--source", "jsonl"], "--path is missing; give a JSON or JSONL file"),
        (["--source", "jsonl", "--path", "nope.json"], "nope.json isn't there; give a JSON or"),
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
