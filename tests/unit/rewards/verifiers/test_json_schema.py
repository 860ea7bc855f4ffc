"""JSON that a schema accepts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from atlas.rewards.verifiers import verify
from atlas.rewards.verifiers.verdict import Verdict
from atlas.types import Task

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
    "additionalProperties": False,
}


def verdict(text: str, answer: str = "", schema: Any = SCHEMA) -> Verdict:
    task = Task(question="?", answer=answer, family="json_schema", metadata={"schema": schema})
    return verify(task, text)


@pytest.mark.parametrize(
    ("text", "score", "parsed"),
    [
        ('Here.\n```json\n{"name": "Ada",\n "age": 36}\n```\nDone.', 1.0, True),
        ('Answer: {"name": "Ada"}', 1.0, True),
        ('Answer: {"age": 36}', 0.0, True),
        ('Answer: {"name": "Ada", "age": -1}', 0.0, True),
        ('Answer: {"name": "Ada", "more": 1}', 0.0, True),
        ('Answer: {"name": "Ada", "age": NaN}', 0.0, False),
        ('Answer: {"name": 1, "name": "Ada"}', 0.0, False),
        ('Answer: {"name": "Ada"', 0.0, False),
        ('{"name": "Ada"}', 0.0, False),
        ("Answer: " + "[" * 100_000, 0.0, False),
    ],
)
def test_verdicts(text: str, score: float, parsed: bool) -> None:
    found = verdict(text)
    assert (found.score, found.parsed) == (score, parsed)


def test_the_place_of_the_fault_is_named() -> None:
    assert verdict('Answer: {"name": "Ada", "age": "old"}').reason.startswith("$.age: 'old'")


def test_a_reference_must_be_equal_as_json() -> None:
    reference = '{"name": "Ada", "age": 1}'
    assert verdict('Answer: {"age": 1.0, "name": "Ada"}', reference, True).correct
    assert not verdict('Answer: {"age": true, "name": "Ada"}', reference, True).correct
    assert not verdict('Answer: {"name": "Ada"}', reference, True).correct


def test_nothing_is_fetched_for_a_schema(tmp_path: Path) -> None:
    inside = tmp_path / "schema.json"
    inside.write_text('{"type": "object"}')
    found = verdict('Answer: {"name": "Ada"}', schema={"$ref": inside.as_uri()})
    assert (found.score, found.rule) == (None, "answer")
    assert found.reason.startswith("the task's schema can't be used: Unresolvable")


def test_a_pattern_that_runs_for_ever_is_stopped() -> None:
    slow = {"pattern": "(a|a|aa)+$b"}
    found = verdict(f'Answer: "{"a" * 60}"', schema=slow)
    assert (found.score, found.reason) == (None, "the task's schema took more than 2 s")
    assert verdict('Answer: "b"', schema={"pattern": "b"}).correct  # and the next one is checked


@pytest.mark.parametrize(
    "schema",
    [{"type": "objekt"}, {"$ref": "https://example.org/schema.json"}, {"$ref": "#/nowhere"}],
)
def test_a_schema_that_cannot_be_used_says_nothing_about_the_answer(schema: Any) -> None:
    assert verdict('Answer: {"name": "Ada"}', schema=schema).score is None
