"""Templates that came with a model: every way to fail is one line, none stops the process."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.unit.tiny_models import tiny_tokenizer

from atlas.errors import AtlasError
from atlas.from_scratch.model.tokenizer import CHAT_TEMPLATE
from atlas.prompts import templates
from atlas.prompts.chat import encode, turn_end_id
from atlas.prompts.templates import check_template, template_of, trial


def with_template(template: Any) -> Any:
    tokenizer = type(tiny_tokenizer())(tokenizer_object=tiny_tokenizer().backend_tokenizer)
    tokenizer.eos_token, tokenizer.pad_token = "<|end|>", "<|pad|>"
    tokenizer.chat_template = template
    tokenizer.name_or_path = "its/folder"
    return tokenizer


MANY, END = "{% for i in range(99999) %}", "{% endfor %}"
BAD = {
    "{{ raise_exception('System role not supported') }}": "System role not supported",
    "{{ messages[0].x.y.z }}": "has no attribute 'x'",
    "{% for %}": "TemplateSyntaxError",
    "{{ 1 / 0 }}": "ZeroDivisionError: division by zero",
    "{% include '/etc/passwd' %}": "no loader for this environment",
    "{{ 'x' * 999999999999 }}": "more than 1 GB",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}": "RecursionError",
    "{% for i in range(999999) %}x{% endfor %}": "OverflowError",
    "{{ ''.__class__.__mro__ }}": "SecurityError",
    f"{MANY}{MANY}{END}{END}": "more than 2 s",
    "{% if messages | length > 2 %}{{ 9 ** (9 ** 9) }}{% endif %}": "more than 2 s",
    f"{MANY}{{{{ 'x' * 99999 }}}}{END}": "more than 1 GB",
    "{% for i in range(999) %}{{ 'x' * 9999 }}{% endfor %}": "it writes 69,923,007 characters",
    "{{ raise_exception('\\x1b[31mred\\nsecond line') }}": "TemplateError: .\\[31mred;",
    "{{ " + "(" * 9999: "Error",
    "{{ messages | map(attribute='nope.nope') | join }}": "UndefinedError",
}


@pytest.mark.parametrize("template", BAD)
def test_a_bad_template_is_told_in_one_line(template: str) -> None:
    tokenizer = with_template(template)
    message = rf"^the chat template of 'its/folder' fails: [^\n\x1b]*{BAD[template]}[^\n\x1b]*$"
    for use in (check_template, turn_end_id, lambda it: encode(it, [{"role": "user"}])):
        with pytest.raises(AtlasError, match=message):
            use(tokenizer)


def test_a_message_that_a_template_refuses_is_told_in_one_line() -> None:
    alternate = (
        "{% if messages[0].role == 'assistant' %}{{ raise_exception('user first') }}{% endif %}"
        "{{ messages[0].content }}"
    )
    tokenizer = with_template(alternate)
    check_template(tokenizer)
    with pytest.raises(AtlasError, match="'its/folder' fails: TemplateError: user first; mend"):
        encode(tokenizer, [{"role": "assistant", "content": "a"}])


def test_a_base_model_has_none() -> None:
    with pytest.raises(AtlasError, match="'its/folder' has no chat template; use a chat model"):
        encode(with_template(None), [{"role": "user", "content": "a"}])


def test_of_several_the_default_is_chosen_and_all_are_kept() -> None:
    several = {"default": CHAT_TEMPLATE, "tool_use": "{{ 1 / 0 }}"}
    tokenizer = with_template(several)
    asked = [{"role": "user", "content": "1 + 2"}]
    assert encode(tokenizer, asked) == encode(tiny_tokenizer(), asked)
    assert turn_end_id(tokenizer) == turn_end_id(tiny_tokenizer())
    assert tokenizer.chat_template == several


def test_of_several_without_a_default_the_names_are_told() -> None:
    with pytest.raises(AtlasError, match=r"rag, tool_use and none .*chat_template\.jinja"):
        template_of(with_template({"tool_use": "a", "rag": "b"}))


def test_a_template_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    monkeypatch.setattr(templates, "trial", lambda render: tried.append(render()) or "")
    monkeypatch.setattr(templates, "_tried", {})
    for _ in range(3):
        encode(with_template(CHAT_TEMPLATE), [{"role": "user", "content": "1"}])
    assert len(tried) == 1


def test_what_is_tried_runs_elsewhere_and_leaves_nothing(tmp_path: Path) -> None:
    here = os.getpid()
    assert trial(lambda: "a") == ""
    assert trial(lambda: str(1 // (os.getpid() - os.getpid()))).startswith("ZeroDivisionError")
    assert trial(lambda: "a" if os.getpid() == here else "a" * 2_000_000) == (
        "it writes 2,000,000 characters"
    )
    open_before = len(os.listdir("/proc/self/fd"))
    children = {child.pid for child in psutil.Process().children()}
    trial(lambda: "a")
    assert len(os.listdir("/proc/self/fd")) == open_before
    assert {child.pid for child in psutil.Process().children()} == children


def test_what_waits_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "_PATIENCE", 0.1)
    assert trial(lambda: time.sleep(600) or "a").startswith("it takes more than 2 s")
