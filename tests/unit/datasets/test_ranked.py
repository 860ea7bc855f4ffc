from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atlas.datasets.ranked import (
    RankedRecord,
    check_no_shared_prompt,
    read_ranked,
    write_ranked,
)
from atlas.errors import AtlasError
from atlas.types import Task

GOOD = {"prompt": "1 + 1?", "responses": [{"text": "2", "rank": 1}, {"text": "3", "rank": 2}]}


def saved(folder: Path, content: Any, name: str = "data.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    records = [
        RankedRecord(
            prompt="Ünï?",
            responses=("a", "b", "c"),
            scores=(-2.0, -1.0, -2.0),
            kinds=("wrong", "short", "wrong"),
            task=Task(question="Ünï?", answer="b", family="chain_sum", metadata={"n": 1}),
            source="7",
        ),
        RankedRecord(prompt="other", responses=("x", "y"), scores=(-1.0, -2.0)),
    ]
    write_ranked(tmp_path / "data.json", records)
    assert read_ranked(tmp_path / "data.json") == records


def test_ranks_are_turned_round_and_scores_stay(tmp_path: Path) -> None:
    scored = {"prompt": "?", "responses": [{"text": "a", "score": 0.2}, {"text": "b", "score": 7}]}
    ranked, by_score = read_ranked(saved(tmp_path, [GOOD, scored]))
    assert ranked.scores == (-1.0, -2.0)
    assert by_score.scores == (0.2, 7.0)
    assert by_score.ranks == (2, 1)


def test_a_record_a_line_is_read_too(tmp_path: Path) -> None:
    path = saved(tmp_path, f"{json.dumps(GOOD)}\n\n{json.dumps(GOOD)}\n", "data.jsonl")
    assert len(read_ranked(path)) == 2


def broken(**changes: Any) -> dict[str, Any]:
    return GOOD | changes


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"responses": GOOD["responses"]}, "record 1: 'prompt' is a required property"),
        (broken(prompt=3), "record 1, prompt: 3 is not of type 'string'"),
        (broken(responses=[]), "record 1, responses: [] should be non-empty"),
        (broken(responses=[{"text": ""}]), "record 1, responses[0].text: '' should be non-empty"),
        (broken(responses=[{"text": "a"}]), "neither a rank nor a score"),
        (
            broken(responses=[{"text": "a", "rank": 1}, {"text": "b", "score": 2}]),
            "both ranks and scores",
        ),
        (
            broken(responses=[{"text": "a", "rank": 1}, {"text": "b"}]),
            "record 1, responses[1]: no rank, as the others have",
        ),
        (
            broken(responses=[{"text": "a", "rank": 0}]),
            "record 1, responses[0].rank: 0 is less than the minimum of 1",
        ),
        (broken(respones=[]), "('respones' was unexpected)"),
    ],
)
def test_a_broken_record_is_named_with_its_reason(
    tmp_path: Path, record: dict[str, Any], reason: str
) -> None:
    path = saved(tmp_path, [GOOD, record])
    with pytest.raises(AtlasError) as caught:
        read_ranked(path)
    assert str(caught.value).startswith(f"{path}, record 1")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [("[{", "is no JSON"), ([], "at least one record"), ({"a": 1}, "must hold a list")],
)
def test_a_file_without_records_is_refused(tmp_path: Path, content: Any, reason: str) -> None:
    with pytest.raises(AtlasError, match=reason):
        read_ranked(saved(tmp_path, content))


def test_a_missing_file_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match=r"python prepare_grpo_data\.py"):
        read_ranked(tmp_path / "data.json")


def test_a_prompt_in_both_sets_is_named() -> None:
    record = RankedRecord(prompt="1 + 1?", responses=("2",), scores=(0.0,))
    with pytest.raises(AtlasError, match=r"1 prompts .* '1 \+ 1\?' first"):
        check_no_shared_prompt([record], [record])
    check_no_shared_prompt([record], [])


def test_of_many_responses_the_best_the_worst_and_some_between_are_kept() -> None:
    record = RankedRecord(
        prompt="?",
        responses=tuple("fbdace"),
        scores=(1.0, 5.0, 3.0, 6.0, 4.0, 2.0),
        kinds=tuple("FBDACE"),
        source="7",
    )
    cut = record.at_most(3)
    assert (cut.responses, cut.scores, cut.kinds) == (tuple("acf"), (6.0, 4.0, 1.0), tuple("ACF"))
    assert (cut.prompt, cut.source) == ("?", "7")
    assert record.at_most(2).responses == ("a", "f")
    assert record.at_most(6) is record
