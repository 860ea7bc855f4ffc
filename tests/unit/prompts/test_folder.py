"""Folders of prompts: what is read, and what is refused in one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from atlas.errors import AtlasError
from atlas.prompts import STUDENTS, TEACHERS, kinds_of_all
from atlas.prompts.folder import named_prompts, read_prompts, shipped_prompts

BROKEN = {
    "a misspelt name": ("teachings.txt", b"{task}", "teachings.txt is no prompt; the names are "),
    "another kind of file": ("teaching.md", b"{task}", "teaching.md is no prompt; the names are "),
    "nothing": ("teaching.txt", b" \n", "teaching.txt is empty; write the prompt, or delete"),
    "no UTF-8": ("teaching.txt", b"{task} \xff", "teaching.txt isn't UTF-8 at byte 7; save it"),
    "a placeholder that nothing fills": (
        "teaching.txt",
        b"{task} {answer}",
        "teaching.txt has {answer}, which nothing fills; there are: {alone}, {approach}, "
        "{dossier}, {evidence}, {persona}, {task}",
    ),
    "one that nothing fills in a system prompt": (
        "baseline.system.txt",
        b"You are {name}.",
        "baseline.system.txt has {name}, which nothing fills; there are: {task}",
    ),
    "a placeholder that is missing": (
        "attempt.txt",
        b"{task}",
        "attempt.txt lacks {teaching}; write it in",
    ),
    "a system prompt in the middle of a dialogue": (
        "next_step.system.txt",
        b"Be brief.",
        "next_step.system.txt is no prompt; the names are ",
    ),
    "an assistant that has the last word": (
        "teaching.txt",
        b"{task}\n--- assistant ---\nAdd.\n",
        "teaching.txt: user and assistant must take turns, the user first and last",
    ),
    "an assistant that says nothing": (
        "teaching.txt",
        b"{task}\n--- assistant ---\n--- user ---\n{task}\n",
        "teaching.txt: user and assistant must take turns, the user first and last",
    ),
    "a whole book": ("baseline.txt", b"{task}" * 20_000, "baseline.txt is longer than 100,000"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_no_prompt_is_refused_with_its_file(tmp_path: Path, what: str) -> None:
    name, content, message = BROKEN[what]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AtlasError, match=re.escape(f"{tmp_path}/{message}")):
        named_prompts(str(tmp_path))


def test_a_folder_that_is_missing_empty_or_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        AtlasError,
        match=r"prompts=.*/gone is no folder; .* auto, plain, chat, small, small_examples$",
    ):
        named_prompts(str(tmp_path / "gone"))
    with pytest.raises(AtlasError, match=r"holds no prompt; the names are baseline\.txt, "):
        named_prompts(str(tmp_path))
    (tmp_path / "prompts.txt").write_text("{task}")
    with pytest.raises(AtlasError, match=r"prompts.txt is no folder"):
        named_prompts(str(tmp_path / "prompts.txt"))
    (tmp_path / "teaching.txt").mkdir()
    with pytest.raises(AtlasError, match=r"is no prompt; the names are"):
        named_prompts(str(tmp_path))


def test_some_of_the_files_are_enough_and_hidden_ones_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / ".notes").write_text("{x}")
    (tmp_path / "attempt.txt").write_bytes(b"\xef\xbb\xbf{task}\r\n{teaching}\r\n")
    (tmp_path / "attempt.system.txt").write_text("Be brief.")
    assert read_prompts(tmp_path).texts == {
        "attempt.txt": "{task}\n{teaching}\n",
        "attempt.system.txt": "Be brief.",
    }


def test_settings_lie_beside_the_prompts(tmp_path: Path) -> None:
    file = tmp_path / "teacher.yaml"
    file.write_text("chat_template_kwargs:\n  enable_thinking: false\nteaching_tag: teaching\n")
    prompts = read_prompts(tmp_path)
    assert prompts.template_kwargs("teacher") == {"enable_thinking": False}
    assert prompts.template_kwargs("student") == {}
    assert prompts.with_settings("teacher", chat_template_kwargs=None) is prompts
    assert prompts.with_settings("teacher", teaching_tag="b").settings("teacher") == {
        "chat_template_kwargs": {"enable_thinking": False},
        "teaching_tag": "b",
    }
    for wrong in (
        "a: 1",
        "chat_template_kwargs: [1]",
        "teaching_tag: <a>",
        "teaching_tag: 1",
        "chat_template_kwargs: {a: null}",
        "chat_template_kwargs: {",
    ):
        file.write_text(wrong)
        with pytest.raises(AtlasError, match=r"teacher\.yaml (must say|can't be read)"):
            read_prompts(tmp_path)
    file.unlink()
    (tmp_path / "student.yaml").write_text("teaching_tag: teaching")
    with pytest.raises(
        AtlasError, match=r"student\.yaml must say chat_template_kwargs and nothing"
    ):
        read_prompts(tmp_path)


def test_a_placeholder_may_stand_in_the_system_prompt(tmp_path: Path) -> None:
    (tmp_path / "attempt.txt").write_text("{task}")
    (tmp_path / "attempt.system.txt").write_text("Your teacher says: {teaching}")
    asked = read_prompts(tmp_path).render("attempt", task="1 + 1?", teaching="Add.")
    assert [m["content"] for m in asked] == ["Your teacher says: Add.", "1 + 1?"]


def test_both_sets_that_ship_are_whole() -> None:
    assert {*kinds_of_all()} == TEACHERS | STUDENTS
    for name in ("plain", "chat"):
        assert {f"{kind}.txt" for kind in kinds_of_all()} <= shipped_prompts(name).texts.keys()
    assert not any("system" in name for name in shipped_prompts("plain").texts)


def test_a_teacher_of_a_chat_model_is_shown_the_attempt_and_not_how_it_turned_out() -> None:
    chat = shipped_prompts("chat")
    asked = {"task": "1 + 1?", "approach": "I add."}
    system, shown = (m["content"] for m in chat.render("teaching", **asked, alone="Answer: 3"))
    assert "Answer: 3" in shown
    assert "tried alone" not in chat.render("teaching", **asked)[-1]["content"]
    assert "forbidden" in system
    assert "the final answer" in system


@pytest.mark.parametrize("kind", ["baseline", "attempt"])
def test_a_student_is_told_how_to_answer(kind) -> None:
    (*_, asked) = shipped_prompts("chat").render(kind, task="1 + 1?", teaching="Add.")
    assert asked["content"].splitlines()[-1].startswith("Answer: ")


def test_examples_for_an_untrained_teacher_change_its_prompt_alone() -> None:
    """What is collected with examples is trained without: the student must be asked the same."""
    with_examples, without = shipped_prompts("small_examples"), shipped_prompts("small")
    differ = {k for k, text in without.texts.items() if with_examples.texts[k] != text}
    assert differ == {"teaching.txt", "review.txt"}
    assert set(with_examples.texts) == set(without.texts)
    shown = with_examples.render("teaching", task="1 + 1?")
    (system, asked), own = without.render("teaching", task="1 + 1?"), shown[0]
    assert (system, asked) == (own, shown[-1])
    assert len(shown) == 6
