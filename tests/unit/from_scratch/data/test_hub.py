from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from atlas.errors import AtlasError
from atlas.from_scratch.data.hub import ranked_from_hub


def parquet(folder: Path, rows: list[dict[str, Any]]) -> str:
    path = folder / "train.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


def test_rated_completions_are_read(tmp_path: Path) -> None:
    rows = [
        {
            "instruction": "Say hello.",
            "completions": [
                {"response": "no", "overall_score": 2.0},
                {"response": "hello", "overall_score": 9.5},
                {"response": "hi", "overall_score": 7.0},
            ],
        },
        {"instruction": "All alike", "completions": [{"response": "a", "overall_score": 1.0}] * 2},
    ]
    (record,) = ranked_from_hub(parquet(tmp_path, rows), responses_per_prompt=2)
    assert (record.prompt, record.responses) == ("Say hello.", ("hello", "no"))
    assert record.scores == (9.5, 2.0)


def test_pairs_of_conversations_are_read(tmp_path: Path) -> None:
    def turns(answer: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": "Q"}, {"role": "assistant", "content": answer}]

    rows = [{"chosen": turns("good"), "rejected": turns("bad")}]
    (record,) = ranked_from_hub(parquet(tmp_path, rows), responses_per_prompt=5)
    assert (record.prompt, record.responses, record.scores) == ("Q", ("good", "bad"), (-1.0, -2.0))
    assert record.are_ranks


def test_scores_of_pairs_are_taken_where_both_are_there(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a", "chosen": "x", "rejected": "y", "score_chosen": 0.0, "score_rejected": -2},
        {"prompt": "b", "chosen": "x", "rejected": "y", "score_chosen": 7.0},
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second = ranked_from_hub(str(path), responses_per_prompt=2)
    assert (first.scores, second.scores) == ((0.0, -2.0), (-1.0, -2.0))
    assert (first.are_ranks, second.are_ranks) == (False, True)


def test_a_score_that_is_no_number_makes_room_for_the_next(tmp_path: Path) -> None:
    completions = [
        {"response": "x", "fine-grained_score": "N/A", "overall_score": 2.0},
        {"response": "y", "fine-grained_score": "4.5", "overall_score": 9.0},
    ]
    path = parquet(tmp_path, [{"prompt": "a", "completions": completions}])
    (record,) = ranked_from_hub(path, responses_per_prompt=2)
    assert record.scores == (2.0, 4.5)


def test_other_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match="row 0 has the columns text, label; ranked data needs"):
        list(
            ranked_from_hub(parquet(tmp_path, [{"text": "a", "label": 1}]), responses_per_prompt=2)
        )


def test_json_lines_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"prompt": "Q", "chosen": "a", "rejected": "b"}) + "\n")
    (record,) = ranked_from_hub(str(path), responses_per_prompt=2)
    assert record.responses == ("a", "b")


def test_a_set_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match=r"can't be loaded") as caught:
        list(ranked_from_hub(str(tmp_path / "none"), responses_per_prompt=2))
    assert "\n" not in str(caught.value)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


SYSTEM = {"role": "system", "content": "Be brief."}
SEVERAL = "rows are dialogues of several turns before the answer"
UNREADABLE = "rows have turns without a role and a text, or end with another turn than an answer"


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [user("Q")], "chosen": [assistant("a")], "rejected": [assistant("b")]},
        {"prompt": [user("Q")], "chosen": "a", "rejected": "b"},
        {"prompt": "Q", "chosen": [assistant("a")], "rejected": [assistant("b")]},
        {"prompt": "Q", "chosen": assistant("a"), "rejected": assistant("b")},
        {
            "prompt": [user("Q")],
            "chosen": [user("Q"), assistant("a")],
            "rejected": [user("Q"), assistant("b")],
        },
    ],
)
def test_prompts_and_answers_are_read_as_text_or_as_messages(
    tmp_path: Path, row: dict[str, Any]
) -> None:
    (record,) = ranked_from_hub(parquet(tmp_path, [row]), responses_per_prompt=2)
    assert (record.prompt, record.responses) == ("Q", ("a", "b"))


def test_a_prompt_of_completions_may_be_messages(tmp_path: Path) -> None:
    completions = [{"response": "x", "score": 2.0}, {"response": "y", "score": 9.0}]
    path = parquet(tmp_path, [{"prompt": [user("Q")], "completions": completions}])
    (record,) = ranked_from_hub(path, responses_per_prompt=2)
    assert record.prompt == "Q"


def test_a_system_message_is_joined_to_the_prompt(tmp_path: Path) -> None:
    rows = [
        {"prompt": [SYSTEM, user("Q")], "chosen": [assistant("a")], "rejected": [assistant("b")]}
    ]
    (record,) = ranked_from_hub(parquet(tmp_path, rows), responses_per_prompt=2)
    assert record.prompt == "Be brief.\n\nQ"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (
            {
                "chosen": [user("Q"), assistant("middle"), user("more"), assistant("a")],
                "rejected": [user("Q"), assistant("middle"), user("more"), assistant("b")],
            },
            SEVERAL,
        ),
        (
            {
                "prompt": [user("Q"), assistant("middle"), user("more")],
                "chosen": [assistant("a")],
                "rejected": [assistant("b")],
            },
            SEVERAL,
        ),
        (
            {
                "prompt": [user("Q"), assistant("middle")],
                "chosen": [user("more"), assistant("a")],
                "rejected": [user("more"), assistant("b")],
            },
            SEVERAL,
        ),
        (
            {
                "prompt": [user("Q")],
                "chosen": [assistant("middle"), assistant("a")],
                "rejected": [assistant("b")],
            },
            SEVERAL,
        ),
        (
            {"chosen": [user("Q"), assistant("a")], "rejected": [user("R"), assistant("b")]},
            "rows have a chosen and a rejected answer to different prompts",
        ),
        ({"chosen": "a", "rejected": "b"}, "rows have no prompt"),
        ({"chosen": [user("Q")], "rejected": [user("Q")]}, UNREADABLE),
        ({"chosen": [{"from": "human", "value": "Q"}], "rejected": []}, UNREADABLE),
        ({"prompt": "Q", "completions": "text"}, UNREADABLE),
        ({"prompt": "Q", "completions": ["text"]}, UNREADABLE),
        ({"prompt": "Q", "chosen": "a", "rejected": "a"}, "rows have one answer or equal scores"),
        ({"prompt": "Q", "chosen": "a", "rejected": ""}, "rows have one answer or equal scores"),
    ],
)
def test_what_has_not_one_prompt_and_two_answers_is_left_out_and_counted(
    tmp_path: Path, row: dict[str, Any], reason: str
) -> None:
    left_out: Counter[str] = Counter()
    path = parquet(tmp_path, [row, row])
    assert not list(ranked_from_hub(path, responses_per_prompt=2, left_out=left_out))
    assert left_out == {reason: 2}
