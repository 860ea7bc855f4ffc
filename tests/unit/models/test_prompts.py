"""Which prompts belong to which models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants
from tests.unit.tiny_models import other_end, tiny_model, tiny_tokenizer

from atlas.config import EvaluateConfig, SFTConfig
from atlas.errors import AtlasError
from atlas.machine import hub
from atlas.models.checkpoints import save_model
from atlas.models.manifest import MANIFEST, is_whole
from atlas.models.prompts import (
    ELSEWHERE,
    chosen_prompts,
    configured_prompts,
    load_renderer,
)
from atlas.prompts import STUDENTS, TEACHERS, Prompts
from atlas.prompts.folder import shipped_prompts

PLAIN, CHAT = shipped_prompts("plain"), shipped_prompts("chat")
OWN = Prompts(
    texts={
        "baseline.txt": "{task} alone",
        "approach.txt": "{task} how",
        "attempt.txt": "{task} {teaching}",
        "teaching.txt": "{task} teach",
        "teaching.system.txt": "Teach.",
        "next_step.txt": "{output} next",
        "review.txt": "{task} {attempt} judge",
        "next_review.txt": "{attempt} judge again",
        "revise.txt": "{task} {attempt} {teaching}",
        "tools.txt": "Call one of these: {tools}",
        "tool_result.txt": "{output} {teaching}",
    }
)


def model(folder: Path, prompts: Prompts | None = None, *, ours: bool = True) -> str:
    """A model with the chat template of the shipped one, or with another."""
    extra = prompts.files() if prompts else {}
    tokenizer = tiny_tokenizer() if ours else other_end(tiny_tokenizer())
    save_model(folder, tiny_model(vocab_size=300), tokenizer, extra=extra)
    return str(folder)


def test_auto_is_plain_for_models_like_the_shipped_one_and_chat_for_any_other(
    tmp_path: Path,
) -> None:
    assert chosen_prompts("auto", teacher="base", student="base") == PLAIN
    assert chosen_prompts("auto", teacher=model(tmp_path / "like it")) == PLAIN
    other = model(tmp_path / "other", ours=False)
    assert chosen_prompts("auto", teacher=other) == CHAT
    # Trained here as a teacher: as a student it is still no shipped model.
    warmed = model(tmp_path / "warmed", OWN.only(TEACHERS), ours=False)
    found = chosen_prompts("auto", teacher="base", student=warmed)
    assert found == PLAIN.only(TEACHERS).over(CHAT.only(STUDENTS))


def test_each_side_reads_what_is_meant_for_its_model(tmp_path: Path) -> None:
    other = model(tmp_path / "other", ours=False)
    mixed = chosen_prompts("auto", teacher=other, student="base")
    assert mixed.only(TEACHERS) == CHAT.only(TEACHERS)
    assert mixed.only(STUDENTS) == PLAIN.only(STUDENTS)


def test_a_teacher_is_spoken_to_as_in_its_training_and_so_is_its_student(tmp_path: Path) -> None:
    teacher = model(tmp_path / "teacher", OWN)
    assert is_whole(tmp_path / "teacher")
    assert chosen_prompts("auto", teacher=teacher, student="base") == OWN
    # After the warm-up alone nobody knows who will be the student.
    warmed = model(tmp_path / "warmed", OWN.only(TEACHERS))
    other = model(tmp_path / "other", ours=False)
    found = chosen_prompts("auto", teacher=warmed, student=other)
    assert found.only(TEACHERS) == OWN.only(TEACHERS)
    assert found.only(STUDENTS) == CHAT.only(STUDENTS)
    # A student that was itself trained is asked as it was then.
    found = chosen_prompts("auto", teacher="base", student=teacher)
    assert found.only(STUDENTS) == OWN.only(STUDENTS)
    assert found.only(TEACHERS) == PLAIN.only(TEACHERS)


def test_what_is_named_comes_first(tmp_path: Path) -> None:
    teacher = model(tmp_path / "teacher", OWN)
    assert chosen_prompts("chat", teacher=teacher, student="base") == CHAT
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "teaching.txt").write_text("{task} mine")
    found = chosen_prompts(str(mine), teacher=teacher, student="base")
    assert found.texts.keys() == OWN.texts.keys() - {"teaching.system.txt"}
    assert found.texts["teaching.txt"] == "{task} mine"
    assert found.texts["attempt.txt"] == OWN.texts["attempt.txt"]


def test_what_a_template_is_given_stays_with_the_teacher(tmp_path: Path) -> None:
    teacher = model(tmp_path / "raw", ours=False)
    config = EvaluateConfig(
        teachers=("t",),
        chat_template_kwargs={"enable_thinking": False},
        student_chat_template_kwargs={"effort": "low"},
        teaching_tag="teaching",
    )
    trained = configured_prompts(config, teacher=teacher, student="base")
    assert trained.only(TEACHERS).settings("student") == {}
    folder = model(tmp_path / "trained", trained, ours=False)
    unsaid = EvaluateConfig(teachers=("t",))
    for prompts in ("auto", "chat"):
        found = configured_prompts(replace(unsaid, prompts=prompts), teacher=folder, student="base")
        assert found.settings("teacher") == {
            "chat_template_kwargs": {"enable_thinking": False},
            "teaching_tag": "teaching",
        }
        assert load_renderer(folder, found).template_kwargs == {"enable_thinking": False}
        assert load_renderer("base", found, "student").template_kwargs == {"effort": "low"}
    said = replace(unsaid, chat_template_kwargs={"enable_thinking": True})
    found = configured_prompts(said, teacher=folder, student="base")
    assert found.template_kwargs("teacher") == {"enable_thinking": True}
    # The warm-up knows no student; it is asked as another teacher's was.
    warmed = model(tmp_path / "warmed", trained.only(TEACHERS), ours=False)
    for others, given in (((), {}), ((folder,), {"effort": "low"})):
        found = configured_prompts(unsaid, teacher=warmed, student="base", others=others)
        assert found.template_kwargs("student") == given
    # Nobody is taught: the model itself is asked as a student alone is.
    alone = configured_prompts(
        SFTConfig(model_name_or_path="m", chat_template_kwargs={"a": 1}), teacher=teacher
    )
    assert alone.template_kwargs("student") == {"a": 1}


def test_an_adapter_has_the_prompts_of_its_base_unless_it_has_its_own(tmp_path: Path) -> None:
    base = model(tmp_path / "base", OWN)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    config = f'{{"peft_type": "LORA", "base_model_name_or_path": "{base}"}}'
    (adapter / "adapter_config.json").write_text(config)
    assert chosen_prompts("auto", teacher=str(adapter)) == OWN
    (adapter / "prompts").mkdir()
    (adapter / "prompts" / "teaching.txt").write_text("{task} adapted")
    assert chosen_prompts("auto", teacher=str(adapter)).texts["teaching.txt"] == "{task} adapted"


def test_a_model_on_the_hub_keeps_its_prompts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "hub_answers", lambda endpoint: False)
    place = tmp_path / "models--somebody--teacher"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("abc")
    for path, text in OWN.files().items():
        file = place / "snapshots" / "abc" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert chosen_prompts("auto", teacher="somebody/teacher") == OWN
    assert chosen_prompts("auto", teacher="somebody/else") == CHAT


def test_a_broken_prompt_beside_a_model_is_named(tmp_path: Path) -> None:
    teacher = model(tmp_path / "teacher", OWN)
    (tmp_path / "teacher" / "prompts" / "teaching.txt").write_text("{nothing}")
    with pytest.raises(AtlasError, match=r"teacher/prompts/teaching.txt has \{nothing\}"):
        chosen_prompts("auto", teacher=teacher)


def test_where_a_template_has_no_system_role_the_log_says_what_becomes_of_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = model(tmp_path / "m")
    assert load_renderer(folder, CHAT).template_kwargs == {}
    assert caplog.messages == []
    template = tmp_path / "m" / "chat_template.jinja"
    template.write_text(
        "{% for m in messages if m.role != 'system' %}{{ m.content }}<|end|>{% endfor %}"
    )
    (tmp_path / "m" / MANIFEST).unlink()
    load_renderer(folder, PLAIN)
    assert caplog.messages == []
    load_renderer(folder, CHAT)
    (message,) = caplog.messages
    assert message.startswith(f"the chat template of {folder} has no system role: ")
    said: list[str] = []
    load_renderer(folder, CHAT, say=said.append)
    assert (said, len(caplog.messages)) == ([message], 1)


def test_a_student_elsewhere_reads_the_prompts_for_any_chat_model() -> None:
    chosen = chosen_prompts("auto", teacher="base", student=ELSEWHERE)
    assert chosen.only(STUDENTS).texts == shipped_prompts("chat").only(STUDENTS).texts
    assert chosen.only(TEACHERS).texts == shipped_prompts("plain").only(TEACHERS).texts
