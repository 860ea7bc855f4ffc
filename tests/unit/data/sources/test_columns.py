"""What a row of a table says, and what in it is no text."""

from __future__ import annotations

from typing import Any

import pytest

from atlas.data.sft import Request
from atlas.data.sources.columns import dialogue_in, find_columns, task_in


def messages(asked: Any, said: Any) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
    }


def part(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def test_content_in_parts_is_their_text() -> None:
    row = messages([part("Calculate "), part("1 + 2.")], [part("A = 1 + 2.")])
    found = dialogue_in(row, find_columns("set", row.keys(), "sft"))
    assert found is not None
    task, turns = found
    assert not isinstance(turns[-1], Request)
    assert (task, turns[-1]["content"]) == ("Calculate 1 + 2.", "A = 1 + 2.")


@pytest.mark.parametrize("said", [[part("See:"), {"type": "image_url"}], {"text": "a"}, 5, [None]])
def test_a_row_with_more_than_text_in_it_is_left_out(said: Any) -> None:
    row = messages("Calculate 1 + 2.", said)
    assert dialogue_in(row, find_columns("set", row.keys(), "sft")) is None


@pytest.mark.parametrize(
    ("answer", "read"), [(["3"], "3"), ("3", "3"), (3, "3"), (["3", "-3"], None), ({"a": 3}, None)]
)
def test_a_list_of_one_answer_is_that_answer_and_of_more_is_none(
    answer: Any, read: str | None
) -> None:
    row = {"question": "x * x = 9", "final_answer": answer}
    task = task_in(row, find_columns("set", row.keys(), "rl"))
    assert (task.answer if task else None) == read
