from __future__ import annotations

import pytest
from tests.unit.tiny_models import tiny_tokenizer
from transformers import PreTrainedTokenizerFast

from atlas.errors import AtlasError
from atlas.prompts.chat import encode, render_ids, text_ids, token_id


def test_the_assistants_turn_is_opened() -> None:
    tokenizer = tiny_tokenizer()
    ids = render_ids(tokenizer, "teaching", task="Calculate 1 + 2.", approach="I add.")
    assert tokenizer.decode(ids) == (
        "<|user|>Task: Calculate 1 + 2.\nStudent: I add.\n"
        "Write a plan for the student, without the answer.<|end|><|assistant|>"
    )


def test_text_is_cut_as_ever_but_for_the_names_of_special_tokens() -> None:
    tokenizer = tiny_tokenizer()
    for text in ("", " Calculate 1 + 2.\n\n", "Größe 数学 <|x|> < | end | >"):
        assert text_ids(tokenizer, text) == tokenizer.encode(text, add_special_tokens=False)
    ids = text_ids(tokenizer, "a<|end|>")
    assert tokenizer.eos_token_id not in ids
    assert tokenizer.decode(ids) == "a<|end|>"
    assert tokenizer.encode("<|end|>") == [tokenizer.eos_token_id]  # as it was before


def test_a_tokenizer_without_a_template_is_refused() -> None:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tiny_tokenizer().backend_tokenizer, name_or_path="some/model"
    )
    with pytest.raises(AtlasError, match="'some/model' has no chat template"):
        encode(tokenizer, [{"role": "user", "content": "1"}])


def test_special_tokens_are_found_or_missed_by_name() -> None:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tiny_tokenizer().backend_tokenizer,
        name_or_path="some/model",
        eos_token="<|end|>",
    )
    assert token_id(tokenizer, "eos") == tokenizer.convert_tokens_to_ids("<|end|>")
    with pytest.raises(AtlasError, match="'some/model' has no pad token"):
        token_id(tokenizer, "pad")
