"""What goes together in the settings of ``atlas collect``."""

from __future__ import annotations

import pytest

from atlas.config import CollectConfig, load_config
from atlas.errors import AtlasError


def load(*words: str) -> CollectConfig:
    return load_config(CollectConfig, None, words)


def test_the_number_of_tasks_follows_from_where_they_come_from() -> None:
    assert load().num_tasks == 200
    assert load("num_tasks=7").num_tasks == 7
    assert load("tasks=t.jsonl").num_tasks is None
    assert load("tasks=t.jsonl", "num_tasks=7").num_tasks == 7


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("tasks=t.jsonl", "families=[chain_sum]"), "tasks and families contradict"),
        (("db_url=postgresql://h/d", "output=t.jsonl"), "db_url and output contradict"),
    ],
)
def test_two_answers_to_one_question_are_refused(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(AtlasError, match=message):
        load(*words)
    for word in words:
        load(word)
