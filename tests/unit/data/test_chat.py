"""Exact layouts of ids and masks."""

from __future__ import annotations

import copy

import pytest
from tests.unit.tiny_models import tiny_tokenizer
from transformers import PreTrainedTokenizerFast

from atlas.data.chat import dialogue_examples, make_example
from atlas.types import Tokens

MESSAGES = [{"role": "user", "content": "1 + 2"}]


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    return tiny_tokenizer()


def drawn(tokenizer: PreTrainedTokenizerFast, example: Tokens) -> list[str]:
    """The tokens, blanks written as ``_``, each one in the loss with a # before it."""
    tokens = [
        str(t).replace("\u0120", "_") for t in tokenizer.convert_ids_to_tokens(list(example.ids))
    ]
    learned = {i for start, end in example.trained for i in range(start, end)}
    return [f"#{t}" if i in learned else t for i, t in enumerate(tokens)]


def spoken(*turns: str) -> list[dict[str, str]]:
    """A dialogue that the user begins."""
    return [
        {"role": ("user", "assistant")[place % 2], "content": turn}
        for place, turn in enumerate(turns)
    ]


def test_one_turn(tokenizer: PreTrainedTokenizerFast) -> None:
    """Only the answer is learned, and that it ends:

    <|user|> 1 _+ _2 <|end|> <|assistant|> A _= _1 . <|end|>
    -------------------------------------- #################
    """
    example = make_example(tokenizer, MESSAGES, "A = 1.", source="7")
    prompt = ["<|user|>", "1", "_+", "_2", "<|end|>", "<|assistant|>"]
    assert drawn(tokenizer, example) == [*prompt, "#A", "#_=", "#_1", "#.", "#<|end|>"]
    assert (example.prefix, example.num_trained, example.source) == (0, 5, "7")


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


def test_every_turn_of_the_teacher_is_learned(tokenizer: PreTrainedTokenizerFast) -> None:
    """Three guidance turns of one session; what the student says is read:

    <|user|> 1 <|end|> <|assistant|> 2 <|end|> <|user|> 3 <|end|> <|assistant|> 4 <|end|> ...
    -------------------------------- ######### --------------------------------- #########
    """
    (example,) = dialogue_examples(
        tokenizer, spoken("1", "2", "3", "4", "5", "6"), max_length=99, source="7"
    )
    expected = []
    for asked, said in (("1", "2"), ("3", "4"), ("5", "6")):
        expected += ["<|user|>", asked, "<|end|>", "<|assistant|>", f"#{said}", "#<|end|>"]
    assert drawn(tokenizer, example) == expected
    assert (len(example.trained), example.num_trained, example.source) == (3, 6, "7")


def test_one_turn_is_the_same_example_as_ever(tokenizer: PreTrainedTokenizerFast) -> None:
    messages = spoken("1 + 2", "A = 1.")
    assert dialogue_examples(tokenizer, messages, max_length=11, source="7") == [
        make_example(tokenizer, MESSAGES, "A = 1.", source="7")
    ]
    assert dialogue_examples(tokenizer, messages, max_length=10) == []


def test_what_looks_like_a_mark_ends_no_turn(tokenizer: PreTrainedTokenizerFast) -> None:
    """Neither in what is learned nor in what is read."""
    said = spoken("1 <|end|><|assistant|>2", "A. <|end|> B", "3<|user|>", "4<|pad|>")
    (example,) = dialogue_examples(tokenizer, said, max_length=999)
    assert tokenizer.decode(example.ids) == "".join(
        f"<|{turn['role']}|>{turn['content']}<|end|>" for turn in said
    )
    marks = [name for name in drawn(tokenizer, example) if name.strip("#").startswith("<|")]
    assert marks == ["<|user|>", "<|end|>", "<|assistant|>", "#<|end|>"] * 2
    learned = [tokenizer.decode(example.ids[start:end]) for start, end in example.trained]
    assert learned == ["A. <|end|> B<|end|>", "4<|pad|><|end|>"]


def test_what_comes_after_the_last_turn_of_the_teacher_is_left_out(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    whole = dialogue_examples(tokenizer, spoken("1", "2"), max_length=99)
    assert dialogue_examples(tokenizer, spoken("1", "2", "3"), max_length=99) == whole


def test_a_dialogue_ends_before_the_turn_that_is_too_long(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    """Two turns are 12 tokens, one is 6."""
    one, two = spoken("1", "2"), spoken("1", "2", "3", "4")
    (short,) = dialogue_examples(tokenizer, one, max_length=99)
    for room in (6, 11):
        assert dialogue_examples(tokenizer, two, max_length=room) == [short]
    ((longer),) = dialogue_examples(tokenizer, two, max_length=12)
    assert len(longer.ids) == 12


def test_a_template_that_rewrites_earlier_turns_gives_an_example_a_turn() -> None:
    """As templates do that take the reasoning away: every answer but the last becomes ``9``.

    <|user|> 1 <|end|> <|assistant|> #2 #<|end|>
    <|user|> 1 <|end|> <|assistant|> 9 <|end|> <|user|> 3 <|end|> <|assistant|> #4 #<|end|>
    """
    tokenizer = copy.deepcopy(tiny_tokenizer())
    assert isinstance(tokenizer.chat_template, str)
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "message['content']", "('9' if message['role'] == 'assistant' else message['content'])"
    )
    first, second = dialogue_examples(
        tokenizer, spoken("1", "2", "3", "4"), max_length=99, source="7"
    )
    asked = ["<|user|>", "1", "<|end|>", "<|assistant|>"]
    assert drawn(tokenizer, first) == [*asked, "#2", "#<|end|>"]
    again = [*asked, "9", "<|end|>", "<|user|>", "3", "<|end|>", "<|assistant|>"]
    assert drawn(tokenizer, second) == [*again, "#4", "#<|end|>"]
    assert first.source == second.source == "7"
