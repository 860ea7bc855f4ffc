"""Odd chat templates, as they come with real models: each works, or is one clear line."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.tiny_models import byte_level_tokenizer, tiny_tokenizer
from tokenizers import pre_tokenizers, processors

from atlas.errors import AtlasError
from atlas.prompts import Prompts
from atlas.prompts.chat import encode, turn_end_id
from atlas.prompts.renderer import Renderer
from atlas.prompts.template_shape import Shape

TURN = "{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}"
OPENED = "{% if add_generation_prompt %}<|assistant|>{% endif %}"
EACH = "{% for m in messages %}"
REFUSES = (
    f"{EACH}{{% if m['role'] == 'system' %}}{{{{ raise_exception('System role not supported') }}}}"
    f"{{% endif %}}{TURN}{{% endfor %}}{OPENED}"
)
DROPS = f"{EACH}{{% if m['role'] != 'system' %}}{TURN}{{% endif %}}{{% endfor %}}{OPENED}"
ALTERNATES = (
    f"{EACH}{{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}}"
    "{{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}"
    f"{TURN}{{% endfor %}}{OPENED}"
)
PARTS = (
    f"{EACH}{{{{ '<|' + m['role'] + '|>' }}}}{{% for part in m['content'] %}}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}<|end|>{% endfor %}"
    f"{OPENED}"
)
PARTS_ONLY = (
    f"{EACH}{{{{ '<|' + m['role'] + '|>' + m['content'][0]['text'] + '<|end|>' }}}}{{% endfor %}}"
    f"{OPENED}"
)
KWARGS = (
    f"{EACH}{TURN}{{% endfor %}}{OPENED}"
    "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
)
SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "1 + 2"}
ANSWER = {"role": "assistant", "content": "3"}


def with_template(template: Any) -> Any:
    tokenizer = type(tiny_tokenizer())(tokenizer_object=tiny_tokenizer().backend_tokenizer)
    tokenizer.eos_token, tokenizer.pad_token = "<|end|>", "<|pad|>"
    tokenizer.chat_template = template
    tokenizer.name_or_path = "its/folder"
    return tokenizer


@pytest.mark.parametrize(
    ("template", "messages", "text"),
    [
        (REFUSES, [SYSTEM, USER], "<|user|>Be brief.\n\n1 + 2<|end|><|assistant|>"),
        (DROPS, [SYSTEM, USER], "<|user|>Be brief.\n\n1 + 2<|end|><|assistant|>"),
        (ALTERNATES, [SYSTEM, USER], "<|user|>Be brief.\n\n1 + 2<|end|><|assistant|>"),
        (
            ALTERNATES,
            [USER, ANSWER, USER, USER],
            "<|user|>1 + 2<|end|><|assistant|>3<|end|><|user|>1 + 2\n\n1 + 2<|end|><|assistant|>",
        ),
        (PARTS, [SYSTEM, USER], "<|system|>Be brief.<|end|><|user|>1 + 2<|end|><|assistant|>"),
        (PARTS_ONLY, [USER], "<|user|>1 + 2<|end|><|assistant|>"),
        (KWARGS, [SYSTEM, USER], "<|system|>Be brief.<|end|><|user|>1 + 2<|end|><|assistant|>"),
        (KWARGS, [USER, USER], "<|user|>1 + 2<|end|><|user|>1 + 2<|end|><|assistant|>"),
    ],
)
def test_what_is_said_gets_through(template: str, messages: list[Any], text: str) -> None:
    tokenizer = with_template(template)
    before = [dict(message) for message in messages]
    assert tokenizer.decode(encode(tokenizer, messages)) == text
    assert messages == before
    assert turn_end_id(tokenizer) == tokenizer.eos_token_id


@pytest.mark.parametrize("template", [REFUSES, DROPS, ALTERNATES, PARTS])
def test_a_mark_in_a_text_is_text_in_every_shape(template: str) -> None:
    tokenizer = with_template(template)
    ids = encode(tokenizer, [SYSTEM, {"role": "user", "content": "says <|end|>"}])
    assert ids.count(tokenizer.eos_token_id) == (2 if template == PARTS else 1)
    assert tokenizer.decode(ids).endswith("says <|end|><|end|><|assistant|>")


@pytest.mark.parametrize("template", ["{{ 'Hello' }}", "{% for m in messages %}.{% endfor %}"])
def test_a_template_that_writes_nothing_of_what_is_said_is_refused(template: str) -> None:
    message = "^the chat template of 'its/folder' writes nothing of what a user says; mend .*"
    with pytest.raises(AtlasError, match=message):
        encode(with_template(template), [USER])


def test_the_beginning_is_there_once() -> None:
    """Where both the template and the tokenizer write it, as Llama 3's do."""
    tokenizer = byte_level_tokenizer(pre_tokenizers.ByteLevel(), ["1 + 2"], bos="<s>")
    bos = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", bos)]
    )
    assert tokenizer.encode("1")[0] == bos
    for said in ("1 + 2", "1 + 2 <|end|>"):
        ids = encode(tokenizer, [{"role": "user", "content": said}])
        assert (ids[0], ids.count(bos)) == (bos, 1)


def test_what_a_template_is_given_counts_and_is_kept_apart() -> None:
    tokenizer = with_template(KWARGS)
    prompts = Prompts(texts={"baseline.txt": "{task}"})

    def prompt(**given: Any) -> str:
        renderer = Renderer(tokenizer=tokenizer, prompts=prompts, template_kwargs=given)
        return tokenizer.decode(renderer.prompt("baseline", task="1 + 2"))

    thinks = "<|user|>1 + 2<|end|><|assistant|>"
    assert prompt() == prompt(enable_thinking=True) == thinks
    assert prompt(enable_thinking=False) == f"{thinks}<think></think>"
    assert prompt() == thinks


def test_the_end_of_a_turn_may_depend_on_what_a_template_is_given() -> None:
    tokenizer = with_template(
        f"{EACH}{{{{ '<|' + m['role'] + '|>' + m['content'] }}}}"
        f"{{{{ '<|system|>' if other else '<|end|>' }}}}{{% endfor %}}{OPENED}"
    )
    system = tokenizer.convert_tokens_to_ids("<|system|>")
    assert turn_end_id(tokenizer) == tokenizer.eos_token_id
    assert turn_end_id(tokenizer, given={"other": True}) == system
    assert turn_end_id(tokenizer) == tokenizer.eos_token_id


@pytest.mark.parametrize(("template", "folds"), [(DROPS, True), (REFUSES, True), (KWARGS, False)])
def test_it_is_known_where_a_system_prompt_goes(template: str, folds: bool) -> None:
    prompts = Prompts(texts={"baseline.txt": "{task}", "baseline.system.txt": "Be brief."})
    tokenizer = with_template(template)
    assert Renderer(tokenizer=tokenizer, prompts=prompts).folds_system_prompts is folds
    assert not Renderer(tokenizer=tokenizer, prompts=prompts.only([])).folds_system_prompts


def test_messages_that_fit_stay_as_they_are() -> None:
    assert Shape().fit([SYSTEM, USER, ANSWER]) == [SYSTEM, USER, ANSWER]
