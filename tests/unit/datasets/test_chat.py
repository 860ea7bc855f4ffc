"""Exact layouts of ids and masks."""

from __future__ import annotations

import pytest
from tests.unit.tiny_models import tiny_tokenizer
from transformers import PreTrainedTokenizerFast

from atlas.datasets.chat import Example, collate, make_example

MESSAGES = [{"role": "user", "content": "1 + 2"}]


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    return tiny_tokenizer()


def drawn(tokenizer: PreTrainedTokenizerFast, example: Example) -> list[str]:
    """The tokens, blanks written as ``_``, each one in the loss with a # before it."""
    tokens = [
        str(t).replace("\u0120", "_") for t in tokenizer.convert_ids_to_tokens(list(example.ids))
    ]
    return [t if i < example.prompt_length else f"#{t}" for i, t in enumerate(tokens)]


def test_one_turn(tokenizer: PreTrainedTokenizerFast) -> None:
    """Only the answer is learned, and that it ends:

    <|user|> 1 _+ _2 <|end|> <|assistant|> A _= _1 . <|end|>
    -------------------------------------- #################
    """
    example = make_example(tokenizer, MESSAGES, "A = 1.", source="7")
    prompt = ["<|user|>", "1", "_+", "_2", "<|end|>", "<|assistant|>"]
    assert drawn(tokenizer, example) == [*prompt, "#A", "#_=", "#_1", "#.", "#<|end|>"]
    assert (example.prompt_length, example.num_trained, example.source) == (6, 5, "7")


def test_a_text_that_breaks_off_does_not_end(tokenizer: PreTrainedTokenizerFast) -> None:
    """... <|assistant|> #A #_= #_1"""
    example = make_example(tokenizer, MESSAGES, "A = 1", ended=False)
    assert drawn(tokenizer, example)[6:] == ["#A", "#_=", "#_1"]


def test_several_turns_are_all_read_and_only_the_last_is_learned(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    """<|system|> 9 <|end|> <|user|> 1 <|end|> <|assistant|> 2 <|end|> <|user|> 3 <|end|>
    <|assistant|> #4 #<|end|>
    """
    messages = [
        {"role": "system", "content": "9"},
        {"role": "user", "content": "1"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "3"},
    ]
    found = drawn(tokenizer, make_example(tokenizer, messages, "4"))
    turns = [("system", "9"), ("user", "1"), ("assistant", "2"), ("user", "3")]
    read = [token for role, text in turns for token in (f"<|{role}|>", text, "<|end|>")]
    assert found == [*read, "<|assistant|>", "#4", "#<|end|>"]


@pytest.mark.parametrize(("max_length", "kept", "learned"), [(9, 9, 3), (6, 6, 0), (4, 4, 0)])
def test_a_long_example_loses_its_end(
    tokenizer: PreTrainedTokenizerFast, max_length: int, kept: int, learned: int
) -> None:
    whole = make_example(tokenizer, MESSAGES, "A = 1.")
    cut = make_example(tokenizer, MESSAGES, "A = 1.", max_length=max_length)
    assert cut.ids == whole.ids[:kept]
    assert cut.num_trained == learned


def test_collate() -> None:
    """Padding on the right, ``.``; # is in the loss, a learned token with the padding's id too:

    5 6 #7 #0 #2
    5 #8 .  .  .
    """
    ids_BT, trained_BT = collate(
        [Example(ids=(5, 6, 7, 0, 2), prompt_length=2), Example(ids=(5, 8), prompt_length=1)],
        pad_id=0,
    )
    assert ids_BT.tolist() == [[5, 6, 7, 0, 2], [5, 8, 0, 0, 0]]
    assert trained_BT.int().tolist() == [[0, 0, 1, 1, 1], [0, 1, 0, 0, 0]]
