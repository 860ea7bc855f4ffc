from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from atlas.data.ranked import (
    RankedRecord,
    check_no_shared_prompt,
    num_unranked,
    one_a_prompt,
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
            are_ranks=True,
            task=Task(question="Ünï?", answer="b", family="chain_sum", metadata={"n": 1}),
            source="7",
        ),
        RankedRecord(prompt="gap", responses=("x", "y"), scores=(-1.0, -3.0), are_ranks=True),
        RankedRecord(prompt="scored", responses=("x", "y", "z"), scores=(0.91, 0.9, -50.0)),
        RankedRecord(prompt="other", responses=("x", "y"), scores=(-1.0, -2.0)),
    ]
    write_ranked(tmp_path / "data.json", records)
    assert read_ranked(tmp_path / "data.json") == records


def test_ranks_are_turned_round_and_scores_stay(tmp_path: Path) -> None:
    scored = {"prompt": "?", "responses": [{"text": "a", "score": 0.2}, {"text": "b", "score": 7}]}
    ranked, by_score = read_ranked(saved(tmp_path, [GOOD, scored]))
    assert ranked.scores == (-1.0, -2.0)
    assert by_score.scores == (0.2, 7.0)
    assert (ranked.are_ranks, by_score.are_ranks) == (True, False)
    assert (by_score.as_ranks().scores, by_score.as_ranks().are_ranks) == ((-2.0, -1.0), True)
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
        (
            broken(responses=[{"text": "a", "rank": r} for r in (1, 2)]),
            "record 1, responses[1]: the same text as responses[0] with another rank",
        ),
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
    [
        ("[{", "is no JSON"),
        ([], "at least one record"),
        ([broken(responses=[{"text": "a", "score": 10**400}])], "has 401 digits"),
        ({"a": 1}, "must hold a list"),
        (" \n", "is empty"),
        ("{}\n{}", r"Extra data.* must be called \.jsonl"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_file_without_records_is_refused(tmp_path: Path, content: Any, reason: str) -> None:
    with pytest.raises(AtlasError, match=reason):
        read_ranked(saved(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (json.dumps([GOOD]).encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
        (json.dumps([GOOD]).encode("utf-16-be"), "is UTF-16 text; save it as UTF-8"),
        (b"\x7fELF\x02\x01\x01\x00", "is no text; give"),
        (b"\x89PNG\r\n", "is no text; give"),
    ],
)
def test_what_is_no_utf_8_is_one_clear_line(tmp_path: Path, content: bytes, reason: str) -> None:
    for name in ("data.json", "data.jsonl"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AtlasError, match=reason) as caught:
            read_ranked(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(AtlasError, match="is a folder"):
        read_ranked(tmp_path)


def test_utf_8_may_begin_with_its_mark(tmp_path: Path) -> None:
    for name, text in (("data.json", json.dumps([GOOD])), ("data.jsonl", json.dumps(GOOD))):
        (tmp_path / name).write_text(text, encoding="utf-8-sig")
        assert len(read_ranked(tmp_path / name)) == 1


def test_a_line_ends_where_json_says(tmp_path: Path) -> None:
    text = "a\u2028b\u2029c\u0085d\fe"
    record = GOOD | {"responses": [{"text": text, "rank": 1}]}
    # As JSON allows, and the form feed as people write it.
    raw = json.dumps(record, ensure_ascii=False).replace("\\f", "\f")
    (read,) = read_ranked(saved(tmp_path, f"{raw}\r\n", "data.jsonl"))
    assert read.responses == (text,)


def test_a_broken_line_is_named_by_line_and_index(tmp_path: Path) -> None:
    good = json.dumps(GOOD)
    path = saved(tmp_path, f"{good}\n\n{good}\n{{]\n", "data.jsonl")
    with pytest.raises(AtlasError) as caught:
        read_ranked(path)
    assert str(caught.value) == (
        f"{path}, record 2 (line 4): no JSON: line 1, column 2: Expecting property name "
        "enclosed in double quotes"
    )
    path = saved(tmp_path, f"\n{good}\n{{}}\n", "data.jsonl")
    with pytest.raises(AtlasError, match=r"record 1 \(line 3\): '\w+' is a required property"):
        read_ranked(path)


def scored(prompt: str = "?", **scores: float) -> RankedRecord:
    return RankedRecord(prompt=prompt, responses=tuple(scores), scores=tuple(scores.values()))


def test_scores_of_one_prompt_are_joined() -> None:
    task = Task(question="?", answer="a", family="reference")
    (first, other), fates = one_a_prompt(
        [
            replace(scored(a=0.9, b=0.1), kinds=("A", "B"), source="1"),
            scored("other", x=1.0, y=0.0),
            replace(scored(b=0.1, c=0.5), kinds=("B", "C"), task=task, source="2"),
            scored(a=0.9),
        ]
    )
    assert (first.responses, first.scores) == (("a", "b", "c"), (0.9, 0.1, 0.5))
    assert (first.kinds, first.task, first.source) == (("A", "B", "C"), task, "1")
    assert other.prompt == "other"
    assert fates == {
        "records repeat a prompt: their responses are joined to the first one's": 1,
        "records repeat what an earlier one says: left out": 1,
    }


def test_what_can_t_be_joined_is_left_out_and_counted() -> None:
    ranked = scored("ranked", a=-1.0, b=-2.0).as_ranks()
    tasks = [Task(question="t", answer=answer, family="reference") for answer in "ab"]
    kept, fates = one_a_prompt(
        [
            ranked,
            ranked,
            scored("ranked", c=-1.0, d=-2.0).as_ranks(),
            scored("ranked", c=0.5),
            scored(a=0.9, b=0.1),
            scored(a=0.8, c=0.1),
            *(replace(scored("t", **{task.answer: 1.0}), task=task) for task in tasks),
        ]
    )
    assert [(record.prompt, record.responses) for record in kept] == [
        ("ranked", ("a", "b")),
        ("?", ("a", "b")),
        ("t", ("a",)),
    ]
    assert {fate.split(":")[0]: count for fate, count in fates.items()} == {
        "records repeat what an earlier one says": 1,
        "records repeat a prompt, and ranks of two records can't be compared": 2,
        "records repeat a prompt and contradict the score or the task that it had": 2,
    }


def test_records_with_one_response_or_only_ties_are_counted() -> None:
    assert num_unranked([scored(a=1.0), scored(a=1.0, b=1.0), scored(a=1.0, b=1.0, c=2.0)]) == 2


def test_a_missing_file_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match=r"python prepare_grpo_data\.py"):
        read_ranked(tmp_path / "data.json")
    with pytest.raises(AtlasError, match=r"data\.json isn't there; look for it"):
        read_ranked(tmp_path / "data.json", where_missing="look for it")


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
