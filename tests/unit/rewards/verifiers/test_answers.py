"""Final answers as real models write them, and the rule that each is read by.

``endings.jsonl`` has a text a line, with its right reading; without a rule, it holds no answer.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from atlas.config.parts.answers import check_answer_format
from atlas.rewards.verifiers.answers import FinalAnswer, bare, read_answer, read_block

ENDINGS = [
    json.loads(line)
    for line in Path(__file__).with_name("endings.jsonl").read_text("utf-8").splitlines()
]


def test_endings_of_real_models_are_read_right() -> None:
    wrong = []
    for one in ENDINGS:
        wanted = FinalAnswer(one["answer"], one["rule"]) if "rule" in one else None
        found = read_answer(one["text"], check_answer_format(one.get("format", "auto")))
        if found != wanted:
            wrong.append(f"{one['text']!r}: {found}, not {wanted}")
    assert not wrong, "\n".join(wrong)
    assert len(ENDINGS) >= 80


@pytest.mark.parametrize(
    ("text", "body", "rule"),
    [
        ("Try.\n```python\nx = 1\n```\n```\n5\n```", "x = 1\n", "block"),
        ("```\na\n```\n```\nb\n```\nDone.", "b\n", "block"),
        ("```python\nx = 1", "x = 1", "block"),
        ('Answer: {"a":\n 1}', '{"a":\n 1}', "answer"),
        ("<think>```python\nx = 0\n```</think>Answer: x", "x", "answer"),
    ],
)
def test_blocks(text: str, body: str, rule: str) -> None:
    assert read_block(text, "python") == FinalAnswer(body, rule)


def test_without_a_block_or_a_label_there_is_none() -> None:
    assert read_block("x = 1", "python") is None


@pytest.mark.parametrize(
    "text",
    ["{" * 5000, "\\boxed{" * 5000, "*" * 5000, "Answer: " * 5000, "<answer>" * 5000, "$" * 5001],
)
def test_odd_texts_are_read_in_no_time(text: str) -> None:
    for answer_format in ("auto", "json:answer", "last_line", "last_number"):
        read_answer(text, answer_format)


def test_what_is_bare_stays_as_it_is() -> None:
    for one in ENDINGS:
        if one["answer"] and one.get("format", "auto") == "auto":
            assert bare(one["answer"]) == one["answer"]
