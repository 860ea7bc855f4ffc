"""``atlas teach``, what it prints."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner

from atlas.cli.teach import app
from atlas.environments.teaching import one_lesson
from atlas.types import Attempt, Completion, Lesson, Review, Task, Utterance


def test_where_nothing_is_said_it_is_said_why(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    turn = Completion(prompt_ids=(1,), token_ids=(2,), logprobs=(), text="", finish_reason="stop")
    lesson = Lesson(
        task=Task(question="1 + 1?", answer="", family=""),
        turns=(turn,),
        alone=Attempt(text="", withheld="unfinished_thoughts"),
        approach=Utterance(),
        teaching=Utterance(withheld="untagged"),
        attempt=Attempt(text="Answer: 2"),
    )

    def give_lesson(question: str, **options: Any) -> Lesson:
        given.update(options, question=question)
        return lesson

    monkeypatch.setattr(one_lesson, "give_lesson", give_lesson)
    words = ["1 + 1?", "--teacher", "base", "--max-new-tokens", "2048"]
    printed = CliRunner().invoke(app, words, catch_exceptions=False).stdout.splitlines()
    assert (given["question"], given["max_new_tokens"]) == ("1 + 1?", 2048)
    assert printed[1].startswith("  (nothing: its thoughts didn't end; raise --max")
    assert printed[3] == "  (nothing)"
    assert printed[5].startswith("  (nothing: it wrote no whole tag")
    assert printed[7] == "  Answer: 2"


def test_a_review_shows_verdict_guidance_and_second_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone, again = Attempt(text="Answer: 3"), Attempt(text="Answer: 2")
    review = Review(attempt=alone, certified=False, guidance="Count again.", tried_again=True)
    lesson = Lesson(
        task=Task(question="1 + 1?", answer="", family=""),
        alone=alone,
        teaching=Utterance(text="Count again."),
        attempt=again,
        reviews=(review,),
    )
    given: dict[str, Any] = {}

    def give_lesson(question: str, **options: Any) -> Lesson:
        given.update(options)
        return lesson

    monkeypatch.setattr(one_lesson, "give_lesson", give_lesson)
    words = ["1 + 1?", "--teacher", "base", "--review"]
    printed = CliRunner().invoke(app, words, catch_exceptions=False).stdout.splitlines()
    assert given["teaching"] == "review"
    assert printed[1::2] == ["  Answer: 3", "  revise", "  Count again.", "  Answer: 2"]
    lesson = replace(lesson, attempt=alone, reviews=(Review(attempt=alone, certified=True),))
    printed = CliRunner().invoke(app, words, catch_exceptions=False).stdout.splitlines()
    assert printed[1::2] == ["  Answer: 3", "  certified"]
